"""Is it genuine? The checks that need AMD's keys and no opinion, in their order.

Cheap structure first, then authenticity, then what the report speaks for; the first check that
fails raises EvidenceError with a stable code and both sides. Whether a genuine machine is an
acceptable one is `policy.appraise`'s question. No clock, no file, no network: `now` is handed in.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from sealserve.attestation import tcb, uvm
from sealserve.attestation.binding import report_data
from sealserve.attestation.certs import Certificate, Leaf, require_signature
from sealserve.attestation.crl import Crl
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.report import Report, SigningKey
from sealserve.attestation.roots import Platform, Roots
from sealserve.attestation.tcb import Line, Tcb
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.native.errors import EvidenceError

__all__ = ["Claims", "Roots", "SignedReport", "signed_report", "verify"]

_INTERMEDIATE: Final = re.compile(r"SEV-(?P<vlek>VLEK-)?(?P<product>Milan|Genoa|Turin)")
_LINE_OF_PRODUCT: Final[Mapping[str, Line]] = {"Milan": "milan", "Genoa": "genoa", "Turin": "turin"}
_RESERVED_LEVELS: Final = frozenset({"spl4", "spl5", "spl6", "spl7"})
_LEVEL_CODES: Final = {
    "fmc": "tcb_fmc",
    "bootloader": "tcb_bl",
    "tee": "tcb_tee",
    "snp": "tcb_snp",
    "microcode": "tcb_ucode",
}


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report that genuine hardware signed. It does not yet speak for anybody.

    crl_this_update: when the stapled revocation list was made, None without one.
    """

    platform: Platform
    line: Line
    report: Report
    signing_key: SigningKey
    csp_id: str | None
    crl_this_update: datetime | None


@dataclass(frozen=True, slots=True)
class Claims:
    """What verification extracted: a genuine report, and the claims it was made for.

    signing_key "vlek": csp_id names the provider that enrolled the machine. endorsement: of exactly
    this launch, by whomever it says; None if none came. runtime: the claims as
    they were hashed; all 64 bytes of REPORT_DATA were compared with them. Their shape is for
    whoever knows which purpose to expect (`binding`).
    """

    platform: Platform
    line: Line
    report: Report
    signing_key: SigningKey
    csp_id: str | None
    crl_this_update: datetime | None
    endorsement: UvmEndorsement | None
    runtime: bytes

    @property
    def reported_tcb(self) -> Tcb:
        """The TCB that the signing key proves."""
        return tcb.decode(self.report.reported_tcb, self.line)

    @property
    def committed_tcb(self) -> Tcb:
        """The TCB below which the platform can no longer fall."""
        return tcb.decode(self.report.committed_tcb, self.line)

    @property
    def current_tcb(self) -> Tcb:
        """The TCB that was running when the report was made."""
        return tcb.decode(self.report.current_tcb, self.line)

    @property
    def launch_tcb(self) -> Tcb:
        """The TCB that was running when the guest was launched."""
        return tcb.decode(self.report.launch_tcb, self.line)

    @property
    def chip_id(self) -> bytes:
        """The chip, 64 bytes or on Turin 8; all zero where a VLEK signed for a masked chip."""
        return self.report.chip_id[: tcb.CHIP_ID_BYTES[self.line]]


def verify(evidence: Evidence, roots: Roots, now: datetime) -> Claims:
    """The claims of genuine evidence that speaks for exactly its runtime claims.

    now: with a time zone. Raises EvidenceError for the first check that fails.
    """
    signed = signed_report(evidence, roots, now)
    endorsement = _endorsement(evidence, signed)
    _require_binding(signed.report, evidence.claims)
    return Claims(
        platform=signed.platform,
        line=signed.line,
        report=signed.report,
        signing_key=signed.signing_key,
        csp_id=signed.csp_id,
        crl_this_update=signed.crl_this_update,
        endorsement=endorsement,
        runtime=evidence.claims,
    )


def signed_report(evidence: Evidence, roots: Roots, now: datetime) -> SignedReport:
    """Everything `verify` checks except whom the report speaks for; evidence.claims is not read.

    For tools that look at reports. A channel or a key must never be trusted for this alone.
    """
    if now.tzinfo is None:
        raise ValueError("now has no time zone")
    report = Report.parse(evidence.report)
    leaf = Leaf.parse(evidence.leaf)
    intermediate = Certificate.parse(evidence.intermediate)
    issuer_kind, line = _issuer(leaf)
    _require_kind(report, leaf, issuer_kind)
    _require_same_line(report, leaf, line)
    root = _require_chain(leaf, intermediate, evidence.root, roots)
    _require_windows(leaf, intermediate, root, now)
    crl_this_update = _require_not_revoked(evidence.crl, intermediate, root, now)
    _require_report_signature(report, leaf)
    _require_levels(report, leaf, line)
    _require_chip(report, leaf, line)
    return SignedReport(
        roots.platform, line, report, report.signing_key, leaf.csp_id, crl_this_update
    )


def _issuer(leaf: Leaf) -> tuple[SigningKey, Line]:
    """Kind and line by the leaf's issuer, which the chain authenticates.

    A version 2 report names no line of its own, so it is never guessed from the report.
    """
    name = leaf.certificate.issuer.common_name
    match = _INTERMEDIATE.fullmatch(name)
    if match is None:
        raise EvidenceError(
            "line_unknown",
            "issuer of the leaf",
            seen=name,
            wanted="SEV-[VLEK-]Milan, Genoa or Turin",
        )
    return "vlek" if match["vlek"] else "vcek", _LINE_OF_PRODUCT[match["product"]]


def _require_kind(report: Report, leaf: Leaf, issuer_kind: SigningKey) -> None:
    """SIGNING_KEY, the leaf's subject and its issuer must name the same kind of key."""
    if not report.signing_key == leaf.kind == issuer_kind:
        raise EvidenceError(
            "leaf_kind",
            "kind of the signing key",
            seen=f"{leaf.kind} issued by {leaf.certificate.issuer.common_name}",
            wanted=f"{report.signing_key}, as the report says",
        )


def _require_same_line(report: Report, leaf: Leaf, line: Line) -> None:
    """CPUID in the report, structVersion and productName in the leaf must all be of this line."""
    if report.cpuid is not None:
        family, model, _ = report.cpuid
        seen = tcb.line_of(family, model)
        if seen != line:
            raise EvidenceError(
                "line_mismatch",
                "product line",
                seen=f"{seen or 'none we know'} (CPUID family 0x{family:x}, model 0x{model:x})",
                wanted=f"{line}, the line of the certificates",
            )
    if leaf.struct_version != tcb.STRUCT_VERSION[line]:
        raise EvidenceError(
            "struct_version",
            "structVersion of the leaf",
            seen=str(leaf.struct_version),
            wanted=f"{tcb.STRUCT_VERSION[line]} on {line}",
        )
    if leaf.product_name.split("-")[0].lower() != line:
        raise EvidenceError(
            "product_name", "productName of the leaf", seen=leaf.product_name, wanted=line
        )


def _require_chain(
    leaf: Leaf, intermediate: Certificate, carried: bytes | None, roots: Roots
) -> Certificate:
    """An accepted root signed the intermediate, which signed the leaf. Returns the root."""
    if leaf.certificate.issuer.der != intermediate.subject.der:
        raise EvidenceError(
            "chain_names",
            "issuer of the leaf",
            seen=f"{leaf.certificate.issuer.common_name}, {leaf.certificate.issuer.organization}",
            wanted=f"{intermediate.subject.common_name}, {intermediate.subject.organization}",
        )
    root = roots.anchor(intermediate.issuer, carried)
    for certificate in (root, intermediate):
        if not certificate.is_ca:
            raise EvidenceError("not_a_ca", f"{certificate.subject.common_name} is not a CA")
    _require_authority(roots, root, intermediate, leaf.certificate)
    require_signature(
        root.spki, intermediate.signature, intermediate.signed, "intermediate_signature"
    )
    require_signature(
        intermediate.spki, leaf.certificate.signature, leaf.certificate.signed, "leaf_signature"
    )
    return root


def _require_authority(roots: Roots, *certificates: Certificate) -> None:
    """Every subject must say real, or every subject must say simulated."""
    for certificate in certificates:
        if certificate.subject.organization != roots.organization:
            raise EvidenceError(
                "authority",
                f"organization in {certificate.subject.common_name}",
                seen=certificate.subject.organization,
                wanted=roots.organization,
            )


def _require_windows(
    leaf: Leaf, intermediate: Certificate, root: Certificate, now: datetime
) -> None:
    chain = {"leaf": leaf.certificate, "intermediate": intermediate, "root": root}
    for name, certificate in chain.items():
        if now < certificate.not_before:
            raise EvidenceError(
                f"{name}_early",
                f"{certificate.subject.common_name} is not valid yet",
                seen=now.isoformat(),
                wanted=f"not before {certificate.not_before.isoformat()}",
                hint="compare the clocks",
            )
        if now > certificate.not_after:
            raise EvidenceError(
                f"{name}_expired",
                f"{certificate.subject.common_name} has expired",
                seen=now.isoformat(),
                wanted=f"not after {certificate.not_after.isoformat()}",
            )


def _require_not_revoked(
    data: bytes | None, intermediate: Certificate, root: Certificate, now: datetime
) -> datetime | None:
    """Check a stapled list. That there is one, and how old it may be, is for policy to want."""
    if data is None:
        return None
    crl = Crl.parse(data)
    crl.require_by(root)
    crl.require_current(now)
    crl.require_not_revoked(intermediate)
    return crl.this_update


def _require_report_signature(report: Report, leaf: Leaf) -> None:
    signature = utils.encode_dss_signature(report.signature_r, report.signature_s)
    try:
        leaf.key.verify(signature, report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise EvidenceError(
            "report_signature",
            "the report was not signed by the key of this leaf",
            hint="a certificate cached from another chip, or from before a firmware update?",
        ) from error


def _require_levels(report: Report, leaf: Leaf, line: Line) -> None:
    """The leaf was issued for exactly the REPORTED_TCB; a missing level is a failure."""
    for raw in (report.current_tcb, report.committed_tcb, report.launch_tcb):
        tcb.decode(raw, line)
    for name, reported in tcb.decode(report.reported_tcb, line).components().items():
        certified = leaf.levels.get(name)
        if certified != reported:
            raise EvidenceError(
                _LEVEL_CODES[name],
                f"{name} level in the leaf",
                seen="none" if certified is None else str(certified),
                wanted=f"{reported}, the report's REPORTED_TCB",
            )
    _require_no_other_level(leaf, line)


def _require_no_other_level(leaf: Leaf, line: Line) -> None:
    known = tcb.decode(bytes(tcb.TCB_BYTES), line).components().keys()
    for name in leaf.levels.keys() - known:
        if name not in _RESERVED_LEVELS or leaf.levels[name] != 0:
            raise EvidenceError(
                "leaf_extension",
                f"{name} level in the leaf",
                seen=str(leaf.levels[name]),
                wanted=f"none, or zero where reserved, on {line}",
            )


def _require_chip(report: Report, leaf: Leaf, line: Line) -> None:
    """CHIP_ID carries as many bytes as the line has; a VCEK was issued for exactly that chip."""
    size = tcb.CHIP_ID_BYTES[line]
    if any(report.chip_id[size:]):
        raise EvidenceError(
            "report_reserved",
            f"CHIP_ID beyond its {size} bytes on {line}",
            seen="not all zero",
            wanted="zero",
        )
    if leaf.kind == "vcek" and leaf.hardware_id != report.chip_id[:size]:
        raise EvidenceError(
            "hwid",
            "hwID of the VCEK",
            seen=(leaf.hardware_id or b"").hex(),
            wanted=f"{report.chip_id[:size].hex()}, the report's CHIP_ID",
        )


def _endorsement(evidence: Evidence, signed: SignedReport) -> UvmEndorsement | None:
    """The endorsement of exactly this launch; that there is one is for policy to want."""
    if evidence.uvm_endorsement is None:
        return None
    endorsement = uvm.read(evidence.uvm_endorsement)
    endorsement.require_of(signed.report.measurement, simulated=signed.platform == "simulated")
    return endorsement


def _require_binding(report: Report, claims: bytes) -> None:
    wanted = report_data(claims)
    if not hmac.compare_digest(report.report_data, wanted):
        raise EvidenceError(
            "report_data",
            "REPORT_DATA",
            seen=report.report_data.hex(),
            wanted=f"{wanted.hex()}, SHA-256 of the runtime claims and 32 zero bytes",
            hint="the report was made for other claims",
        )
