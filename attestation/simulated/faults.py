"""Everything that can be wrong with a machine, by name, one thing at a time.

Each fault changes one dial of the blueprint, so that one check of the verifier, or of a client's
trust, has a machine on which only that check fails. `code` is the verifier's code; it is empty
where the machine stays genuine and whether to accept it is the client's question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from sealserve.attestation.roots import AMD_ORGANIZATION
from sealserve.attestation.simulated.blueprint import (
    OLD_TCB,
    Blueprint,
    levels_of,
)
from sealserve.attestation.simulated.issue import SHA256

_OTHER_CHIP: Final = hashlib.sha512(b"another simulated chip").digest()
_YEAR: Final = timedelta(days=365)


@dataclass(frozen=True)
class Fault:
    """what: one sentence for people. code: of the EvidenceError, "" if the machine is genuine."""

    what: str
    code: str
    change: Callable[[Blueprint], Blueprint]


def apply(faults: Collection[str], blueprint: Blueprint) -> Blueprint:
    """The blueprint with these faults. ValueError for a name that is not in FAULTS."""
    for name in faults:
        if name not in FAULTS:
            raise ValueError(f"no fault is called {name!r}; there are {', '.join(FAULTS)}")
        blueprint = FAULTS[name].change(blueprint)
    return blueprint


def _set(**fields: object) -> Callable[[Blueprint], Blueprint]:
    return lambda blueprint: replace(blueprint, **fields)  # type: ignore[arg-type]


def _policy_bit(bit: int) -> Callable[[Blueprint], Blueprint]:
    return lambda blueprint: replace(blueprint, policy=blueprint.policy ^ 1 << bit)


def _level(name: str, level: int | None) -> Callable[[Blueprint], Blueprint]:
    def change(blueprint: Blueprint) -> Blueprint:
        levels = {**blueprint.levels, name: level}
        return replace(blueprint, levels={n: v for n, v in levels.items() if v is not None})

    return change


def _flip(member: str) -> Callable[[Blueprint], Blueprint]:
    return lambda blueprint: replace(blueprint, flipped=blueprint.flipped | {member})


_GENUINE: Final = {
    "debug": Fault("the host may read guest memory (POLICY.DEBUG)", "", _policy_bit(19)),
    "migration": Fault("a migration agent may be bound (POLICY.MIGRATE_MA)", "", _policy_bit(18)),
    "vmpl": Fault("the report was asked for at VMPL 1", "", _set(vmpl=1)),
    "host-report": Fault("the host asked for the report, no guest", "", _set(vmpl=0xFFFFFFFF)),
    "old-tcb": Fault(
        "the platform runs, reports and certifies an old TCB",
        "",
        _set(
            current_tcb=OLD_TCB,
            reported_tcb=OLD_TCB,
            committed_tcb=OLD_TCB,
            launch_tcb=OLD_TCB,
            levels=levels_of(OLD_TCB),
        ),
    ),
    "old-reported-tcb": Fault(
        "the signing key proves an old TCB only",
        "",
        _set(reported_tcb=OLD_TCB, levels=levels_of(OLD_TCB)),
    ),
    "old-committed-tcb": Fault(
        "the platform may fall back to an old TCB", "", _set(committed_tcb=OLD_TCB)
    ),
    "other-chip": Fault(
        "another machine answers", "", _set(chip_id=_OTHER_CHIP, hardware_id=_OTHER_CHIP)
    ),
    "host-data": Fault("another policy was launched", "", _set(host_data=bytes([0xAA] * 32))),
    "measurement": Fault("another image was launched", "", _set(measurement=bytes([0xAA] * 48))),
    "no-alias-check": Fault(
        "memory was not checked for aliases (AMD-SB-3015)", "", _set(platform_info=0x05)
    ),
    "no-crl": Fault("no revocation list is stapled", "", _set(crl=False)),
    "old-crl": Fault("the stapled list is 300 days old", "", _set(crl_age=timedelta(days=300))),
}

_REPORT: Final = {
    "report-length": Fault("the report is a byte short", "report_length", _set(missing_bytes=1)),
    "report-version-1": Fault("the report is of version 1", "report_version_1", _set(version=1)),
    "report-version-6": Fault("the report is of version 6", "report_version_6", _set(version=6)),
    "signature-algorithm": Fault(
        "SIGNATURE_ALGO is unknown", "report_signature_algorithm", _set(signature_algorithm=2)
    ),
    "reserved-signed": Fault(
        "a reserved byte under the signature is set",
        "report_reserved",
        _set(signed_patch={0x4C: 1}),
    ),
    "reserved-unsigned": Fault(
        "a byte after the signature is set", "report_reserved", _set(unsigned_patch={0x49F: 1})
    ),
    "policy-form": Fault("POLICY lacks its fixed bit", "report_reserved", _policy_bit(17)),
    "masked-key": Fault("the chip key is masked", "report_masked_key", _set(key_info=2)),
    "no-signing-key": Fault("SIGNING_KEY is none", "report_signing_key", _set(key_info=7 << 2)),
    "zero-signature": Fault(
        "R of the signature is zero",
        "report_signature",
        _set(unsigned_patch=dict.fromkeys(range(0x2A0, 0x2D0), 0)),
    ),
    "other-key": Fault("another key signed the report", "report_signature", _set(strange_key=True)),
    "other-claims": Fault("REPORT_DATA is of other claims", "report_data", _set(other_claims=True)),
    "report-data-tail": Fault(
        "the second half of REPORT_DATA is not zero", "report_data", _set(stray_tail=True)
    ),
}

_LEAF: Final = {
    "key-kind": Fault("the report says VLEK, a VCEK signed", "leaf_kind", _set(key_info=1 << 2)),
    "leaf-name": Fault("the leaf is no VCEK by name", "leaf_kind", _set(leaf_name="SEV-KEY")),
    "line": Fault("CPUID says Genoa", "line_mismatch", _set(cpuid=(0x19, 0x11, 0x01))),
    "unknown-line": Fault("CPUID says Venice", "line_mismatch", _set(cpuid=(0x1A, 0x50, 0x00))),
    "issuer-line": Fault("the leaf's issuer is no line", "line_unknown", _set(issuer_name="SEV-X")),
    "struct-version": Fault("structVersion is Turin's", "struct_version", _set(struct_version=1)),
    "product-name": Fault("productName is Genoa", "product_name", _set(product_name="Genoa")),
    "bootloader-level": Fault("the VCEK's blSPL differs", "tcb_bl", _level("bootloader", 3)),
    "tee-level": Fault("the VCEK's teeSPL differs", "tcb_tee", _level("tee", 1)),
    "snp-level": Fault("the VCEK's snpSPL differs", "tcb_snp", _level("snp", 23)),
    "microcode-level": Fault("the VCEK's ucodeSPL differs", "tcb_ucode", _level("microcode", 218)),
    "missing-level": Fault("the VCEK has no snpSPL", "tcb_snp", _level("snp", None)),
    "extra-level": Fault("a Milan VCEK has an fmcSPL", "leaf_extension", _level("fmc", 1)),
    "reserved-level": Fault("a reserved SPL is not zero", "leaf_extension", _level("spl5", 1)),
    "large-level": Fault("an SPL exceeds a byte", "leaf_extension", _level("microcode", 475)),
    "reserved-tcb": Fault(
        "a reserved byte of LAUNCH_TCB is set", "tcb_reserved", _set(signed_patch={0x1F2: 1})
    ),
    "hwid": Fault("the VCEK is another chip's", "hwid", _set(hardware_id=_OTHER_CHIP)),
    "missing-hwid": Fault("the VCEK has no hwID", "leaf_extension", _set(hardware_id=b"")),
}

_CHAIN: Final = {
    "root": Fault("the ARK is another one", "untrusted_root", _flip("root")),
    "authority": Fault(
        "the VCEK claims to be AMD's", "authority", _set(leaf_organization=AMD_ORGANIZATION)
    ),
    "chain-names": Fault(
        "the VCEK names another issuer", "chain_names", _set(issuer_organization="somebody else")
    ),
    "not-a-ca": Fault("the ASK is no CA", "not_a_ca", _set(ask_reissued=True, ask_ca=False)),
    "intermediate-signature": Fault(
        "the ASK's signature is wrong", "intermediate_signature", _flip("intermediate")
    ),
    "leaf-signature": Fault("the VCEK's signature is wrong", "leaf_signature", _flip("leaf")),
    "leaf-parameters": Fault(
        "the VCEK is signed with SHA-256", "signature_parameters", _set(leaf_scheme=SHA256)
    ),
    "leaf-early": Fault("the VCEK is not valid yet", "leaf_early", _set(leaf_age=-_YEAR)),
    "leaf-expired": Fault(
        "the VCEK has expired",
        "leaf_expired",
        _set(leaf_age=timedelta(days=2), leaf_lifetime=timedelta(days=1)),
    ),
    "intermediate-early": Fault(
        "the ASK is not valid yet", "intermediate_early", _set(ask_reissued=True, ask_age=-_YEAR)
    ),
    "intermediate-expired": Fault(
        "the ASK has expired",
        "intermediate_expired",
        _set(ask_reissued=True, ask_age=timedelta(days=2), ask_lifetime=timedelta(days=1)),
    ),
    "crl-signature": Fault("the list's signature is wrong", "crl_signature", _flip("crl")),
    "crl-issuer": Fault("the list is another root's", "crl_issuer", _set(crl_issuer="ARK-Genoa")),
    "crl-early": Fault("the list is from the future", "crl_early", _set(crl_age=-_YEAR)),
    "crl-stale": Fault(
        "the list has lapsed",
        "crl_stale",
        _set(crl_age=timedelta(days=2), crl_lifetime=timedelta(days=1)),
    ),
    "revoked": Fault("the ASK is on the list", "intermediate_revoked", _set(ask_revoked=True)),
}

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType({**_GENUINE, **_REPORT, **_LEAF, **_CHAIN})
