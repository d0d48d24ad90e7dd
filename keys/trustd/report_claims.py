"""What a token says of a report and its endorsement, under the names of Azure's service."""

from __future__ import annotations

from typing import Final

from sealserve.attestation import Claims
from sealserve.keys.session import ATTESTATION_TYPE
from sealserve.policy.expectations import UvmLaunch

PREFIX: Final = "x-ms-sevsnpvm-"


def of_report(claims: Claims) -> dict[str, object]:
    """Every claim about the report itself.

    The last seven are newer than Azure's published samples; `chip-family` is AMD's product name.
    """
    report, tcb, policy = claims.report, claims.reported_tcb, claims.report.policy
    values: dict[str, object] = {
        "authorkeydigest": report.author_key_digest.hex(),
        "bootloader-svn": tcb.bootloader,
        "familyId": report.family_id.hex(),
        "guestsvn": report.guest_svn,
        "hostdata": report.host_data.hex(),
        "idkeydigest": report.id_key_digest.hex(),
        "imageId": report.image_id.hex(),
        "is-debuggable": policy.debug,
        "launchmeasurement": report.measurement.hex(),
        "microcode-svn": tcb.microcode,
        "migration-allowed": policy.migrate_ma,
        "reportdata": report.report_data.hex(),
        "reportid": report.report_id.hex(),
        "smt-allowed": policy.smt,
        "snpfw-svn": tcb.snp,
        "tee-svn": tcb.tee,
        "vmpl": report.vmpl,
        "chip-family": claims.line.capitalize(),
        "chipid": report.chip_id.hex(),
        "ciphertext-hiding-dram-enabled": policy.ciphertext_hiding,
        "cxl-allowed": policy.cxl,
        "mem-aes256-xts-required": policy.aes_256_xts,
        "page-swap-disabled": policy.page_swap_disabled,
        "rapl-disabled": policy.rapl_disabled,
        "singlesocket": policy.single_socket,
    }
    told = {f"{PREFIX}{name}": value for name, value in values.items()}
    told["x-ms-attestation-type"] = ATTESTATION_TYPE
    return told


def of_endorsement(claims: Claims, launch: UvmLaunch | None) -> dict[str, object]:
    """What the configured issuer says of the launch; nothing of what anybody else says.

    Everybody can sign an endorsement: a claim that a stranger fills would only look like one.
    """
    found = claims.endorsement
    if launch is None or found is None:
        return {}
    if (found.issuer, found.feed) != (launch.issuer, launch.feed):
        return {}
    return {
        f"{PREFIX}uvm-endorsement": {
            f"{PREFIX}guestsvn": str(found.svn),
            f"{PREFIX}launchmeasurement": found.measurement.hex(),
        },
        f"{PREFIX}uvm-endorsement-headers": {"feed": found.feed, "iss": found.issuer},
    }
