"""The checks that need AMD's keys and no opinion, one table, in their order.

Cheap structure first, then authenticity, then what the report speaks for. A check reads what
earlier ones found out on the bench, puts there what later ones need, and says what it compared
with what; or raises EvidenceError with a stable code and both sides. Asked for what nobody could
find out, it goes unasked. `verify` stops at the first failure, `diagnose` asks everything.

Three things are decided here, once for both:

- Under a root that is not ours nothing is asked of its chain: whether a stranger's signatures and
  CAs are in order, in time or revoked says nothing. What the leaf says of the report still is.
- A leaf is for one report or it is not. The first level that differs, or the chip, ends that
  question: a certificate for another firmware is another key's, and differs everywhere.
- A report of a version after those we know is never read as one of them. Its signature can be
  asked for, its fields cannot.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from sealserve.attestation import report as form
from sealserve.attestation import tcb, uvm
from sealserve.attestation.bench import Absent, Bench, Check, Sentence, Unasked
from sealserve.attestation.binding import report_data
from sealserve.attestation.certs import Certificate, Leaf, leaf_key, leaf_kind, require_signature
from sealserve.attestation.crl import Crl
from sealserve.attestation.report import ACCEPTED_VERSIONS, Report, SigningKey
from sealserve.attestation.tcb import Line
from sealserve.native.errors import EvidenceError

_KINDS: Final[tuple[tuple[str, SigningKey], ...]] = (("", "vcek"), ("VLEK-", "vlek"))
# Common names of AMD's intermediates: SEV-Milan issues VCEKs, SEV-VLEK-Milan VLEKs.
_ISSUERS: Final[Mapping[str, tuple[Line, SigningKey]]] = {
    f"SEV-{prefix}{line.capitalize()}": (line, kind)
    for line in tcb.LINES
    for prefix, kind in _KINDS
}
_REPORT_SCHEME: Final = ec.ECDSA(hashes.SHA384())
_RESERVED_LEVELS: Final = frozenset({"spl4", "spl5", "spl6", "spl7"})
_LEVEL_CODES: Final = {
    "fmc": "tcb_fmc",
    "bootloader": "tcb_bl",
    "tee": "tcb_tee",
    "snp": "tcb_snp",
    "microcode": "tcb_ucode",
}


# ---- the report's form


def _length(bench: Bench) -> str:
    bench.image = Report.read(bench.pieces.report)
    if bench.image.version <= max(ACCEPTED_VERSIONS):
        bench.report = bench.image
    return f"{form.REPORT_BYTES} bytes"


def _version(bench: Bench) -> str:
    form.require_version(bench.image)
    return f"{bench.image.version}, one of 2, 3, 4 and 5"


def _algorithm(bench: Bench) -> str:
    form.require_algorithm(bench.image)
    return "SIGNATURE_ALGO 1, ECDSA on P-384 with SHA-384"


def _reserved(bench: Bench) -> str:
    form.require_reserved(bench.report)
    return f"all that version {bench.report.version} reserves are zero"


def _signing_key(bench: Bench) -> str:
    form.require_signing_key(bench.image)
    bench.signing_key = bench.image.signing_key
    return f"SIGNING_KEY says {bench.signing_key.upper()}, MASK_CHIP_KEY is 0"


def _signature_form(bench: Bench) -> str:
    form.require_signature_form(bench.image)
    return "R and S are above zero"


# ---- the certificates' form


def _leaf_certificate(bench: Bench) -> str:
    bench.require_readable("leaf")
    if bench.pieces.leaf is None:
        raise _no_certificate("the VCEK or VLEK that signed the report")
    bench.certificate = Certificate.parse(bench.pieces.leaf)
    return "strict DER, signed with PSS SHA-384"


def _leaf_kind(bench: Bench) -> str:
    bench.leaf_kind = leaf_kind(bench.certificate)
    return f"{bench.certificate.subject.common_name}, one of SEV-VCEK and SEV-VLEK"


def _leaf_key(bench: Bench) -> str:
    bench.key = leaf_key(bench.certificate)
    return "on P-384"


def _leaf_extensions(bench: Bench) -> str:
    _ = bench.leaf_kind, bench.key
    bench.leaf = Leaf.of(bench.certificate)
    return f"{bench.leaf.product_name}, {len(bench.leaf.levels)} security levels"


def _intermediate(bench: Bench) -> str:
    bench.require_readable("intermediate")
    if bench.pieces.intermediate is None:
        _ = bench.certificate  # without a leaf, nobody knows whose issuer is missing
        raise _no_certificate("the ASK or ASVK that issued the leaf")
    bench.intermediate = Certificate.parse(bench.pieces.intermediate)
    return f"{bench.intermediate.subject.common_name}, strict DER, signed with PSS SHA-384"


def _no_certificate(which: str) -> EvidenceError:
    return EvidenceError(
        "no_certificate",
        "a certificate is missing",
        seen="no certificate",
        wanted=which,
        hint="the host hands it over, or AMD's key distribution service has it",
    )


def _issuer(bench: Bench) -> str:
    """Kind and line by the leaf's issuer, which the chain authenticates.

    A version 2 report names no line of its own, so it is never guessed from the report.
    """
    name = bench.certificate.issuer.common_name
    if name not in _ISSUERS:
        raise EvidenceError(
            "line_unknown",
            "issuer of the leaf",
            seen=name,
            wanted="SEV-[VLEK-]Milan, Genoa or Turin",
        )
    bench.line, bench.issuer_kind = _ISSUERS[name]
    return f"{name}, so the line is {bench.line}"


def _kind(bench: Bench) -> str:
    """SIGNING_KEY, the leaf's subject and its issuer must name the same kind of key."""
    kind = bench.signing_key
    if not kind == bench.leaf.kind == bench.issuer_kind:
        raise EvidenceError(
            "leaf_kind",
            "kind of the signing key",
            seen=f"{bench.leaf.kind} issued by {bench.certificate.issuer.common_name}",
            wanted=f"{kind}, as the report says",
        )
    return f"{kind.upper()} in the report, in the leaf and in its issuer"


def _processor(bench: Bench) -> Sentence:
    """CPUID in the report must be of the line that the certificates are for."""
    if bench.report.cpuid is None:
        raise Absent(f"a version {bench.report.version} report does not name its processor")
    family, model, _ = bench.report.cpuid
    seen = tcb.line_of(family, model)
    if seen != bench.line:
        raise EvidenceError(
            "line_mismatch",
            "product line",
            seen=f"{seen or 'none we know'} (CPUID family 0x{family:x}, model 0x{model:x})",
            wanted=f"{bench.line}, the line of the certificates",
        )
    return lambda: f"CPUID family 0x{family:x} model 0x{model:x} is {seen}"


def _struct_version(bench: Bench) -> str:
    seen, wanted = bench.leaf.struct_version, tcb.STRUCT_VERSION[bench.line]
    if seen != wanted:
        raise EvidenceError(
            "struct_version",
            "structVersion of the leaf",
            seen=str(seen),
            wanted=f"{wanted} on {bench.line}",
        )
    return f"structVersion {seen}, as on {bench.line}"


def _product_name(bench: Bench) -> str:
    seen = bench.leaf.product_name
    if seen.split("-")[0].lower() != bench.line:
        raise EvidenceError("product_name", "productName of the leaf", seen=seen, wanted=bench.line)
    return f"productName {seen} is {bench.line}"


# ---- authenticity: a root of ours signed the intermediate, which signed the leaf


def _names(bench: Bench) -> str:
    _require_issuer("the leaf", bench.certificate, bench.intermediate)
    return f"{bench.intermediate.subject.common_name} issued the leaf"


def _trust(bench: Bench) -> str:
    bench.roots.require_trusted(bench.intermediate.issuer, bench.pieces.root)
    bench.trusted = True
    return f"{bench.intermediate.issuer.common_name} is a root we hold by its digest"


def _root(bench: Bench) -> str:
    _ = bench.trusted
    bench.root = bench.roots.root(bench.intermediate.issuer, bench.pieces.root)
    return f"{bench.root.subject.common_name} is signed by its own key"


def _root_name(bench: Bench) -> str:
    _require_issuer("the intermediate certificate", bench.intermediate, bench.root)
    return f"{bench.root.subject.common_name} issued the intermediate"


def _require_issuer(of: str, certificate: Certificate, issuer: Certificate) -> None:
    if certificate.issuer.der != issuer.subject.der:
        raise EvidenceError(
            "chain_names",
            f"issuer of {of}",
            seen=f"{certificate.issuer.common_name}, {certificate.issuer.organization}",
            wanted=f"{issuer.subject.common_name}, {issuer.subject.organization}",
        )


def _authorities(bench: Bench) -> str:
    for certificate in (bench.root, bench.intermediate):
        if not certificate.is_ca:
            raise EvidenceError(
                "not_a_ca",
                f"{certificate.subject.common_name} is not a CA",
                seen="no CA flag, or a key that may not sign certificates",
                wanted="basicConstraints CA and keyUsage keyCertSign",
            )
    return "root and intermediate may sign certificates"


def _organization(bench: Bench) -> str:
    """Every subject must say real, or every subject must say simulated."""
    wanted = bench.roots.organization
    for certificate in (bench.root, bench.intermediate, bench.certificate):
        if certificate.subject.organization != wanted:
            raise EvidenceError(
                "authority",
                f"organization in {certificate.subject.common_name}",
                seen=certificate.subject.organization,
                wanted=wanted,
            )
    return f"every certificate is of {wanted}"


def _intermediate_signature(bench: Bench) -> str:
    _require_signed(bench.intermediate, bench.root, "intermediate_signature")
    return f"by the key of {bench.root.subject.common_name}"


def _leaf_signature(bench: Bench) -> str:
    _ = bench.root
    _require_signed(bench.certificate, bench.intermediate, "leaf_signature")
    return f"by the key of {bench.intermediate.subject.common_name}"


def _require_signed(certificate: Certificate, issuer: Certificate, code: str) -> None:
    require_signature(issuer.spki, certificate.signature, certificate.signed, code)


# ---- time, and revocation


def _leaf_window(bench: Bench) -> Sentence:
    return _require_window(bench, "leaf", bench.certificate)


def _intermediate_window(bench: Bench) -> Sentence:
    _ = bench.root
    return _require_window(bench, "intermediate", bench.intermediate)


def _root_window(bench: Bench) -> Sentence:
    return _require_window(bench, "root", bench.root)


def _require_window(bench: Bench, name: str, certificate: Certificate) -> Sentence:
    now = bench.now
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
    return lambda: (
        f"{now.date()} is in {certificate.not_before.date()} to {certificate.not_after.date()}"
    )


def _inside(now: datetime, start: datetime, end: datetime) -> str:
    return f"{now.date()} is in {start.date()} to {end.date()}"


def _crl(bench: Bench) -> Sentence:
    """That there is a list, and how old it may be, is for policy to want."""
    bench.require_readable("crl")
    if bench.pieces.crl is None:
        raise Absent("none came with the evidence")
    bench.found_crl = Crl.parse(bench.pieces.crl)
    return lambda: f"of {bench.crl.this_update.date()}"


def _crl_signature(bench: Bench) -> str:
    bench.crl.require_by(bench.root)
    return f"by the key of {bench.root.subject.common_name}"


def _crl_window(bench: Bench) -> Sentence:
    crl, _ = bench.crl, bench.root
    crl.require_current(bench.now)
    return lambda: _inside(bench.now, crl.this_update, crl.next_update)


def _revocation(bench: Bench) -> str:
    crl, _ = bench.crl, bench.root
    crl.require_not_revoked(bench.intermediate)
    return f"serial 0x{bench.intermediate.serial:x} is not on the list"


# ---- the leaf and the report belong to each other


def _report_signature(bench: Bench) -> str:
    report = bench.image
    if report.signature_algorithm != form.ECDSA_P384_SHA384:
        raise Unasked("the report's signature algorithm is unknown")
    if 0 in (report.signature_r, report.signature_s):
        raise Unasked("the report carries no signature")
    _ = bench.signing_key
    signature = utils.encode_dss_signature(report.signature_r, report.signature_s)
    try:
        bench.key.verify(signature, report.signed, _REPORT_SCHEME)
    except InvalidSignature as error:
        raise EvidenceError(
            "report_signature",
            "the report was not signed by the key of this leaf",
            seen="a signature by another key, or over other bytes",
            wanted="one by the key of the leaf over bytes 0 to 0x2A0",
            hint="a certificate cached from another chip, or from before a firmware update?",
        ) from error
    return "by the key of the leaf, over bytes 0 to 0x2A0"


def _tcb_form(bench: Bench) -> str:
    report = bench.report
    bench.reported = tcb.components(report.reported_tcb, bench.line)
    others = report.current_tcb, report.committed_tcb, report.launch_tcb
    for raw in dict.fromkeys(others):  # mostly one and the same
        tcb.decode(raw, bench.line)
    return f"laid out as on {bench.line}"


def _other_levels(bench: Bench) -> str:
    known = tcb.COMPONENTS[bench.line]
    for name, level in bench.leaf.levels.items():
        if name not in known and (name not in _RESERVED_LEVELS or level != 0):
            raise EvidenceError(
                "leaf_extension",
                f"{name} level in the leaf",
                seen=str(level),
                wanted=f"none, or zero where reserved, on {bench.line}",
            )
    return f"none that {bench.line} does not have"


def _chip_form(bench: Bench) -> str:
    size = tcb.CHIP_ID_BYTES[bench.line]
    if any(bench.report.chip_id[size:]):
        raise EvidenceError(
            "report_reserved",
            f"CHIP_ID beyond its {size} bytes on {bench.line}",
            seen="not all zero",
            wanted="zero",
        )
    return f"{size} bytes, as on {bench.line}"


def _issued_for(bench: Bench) -> Sentence:
    """The leaf is for exactly the REPORTED_TCB, and a VCEK for exactly this chip."""
    certificate = bench.leaf.levels
    for name, level in bench.reported.items():
        certified = certificate.get(name)
        if certified != level:
            raise EvidenceError(
                _LEVEL_CODES[name],
                f"{name} level in the leaf",
                seen="none" if certified is None else str(certified),
                wanted=f"{level}, the report's REPORTED_TCB",
            )
    chip = bench.report.chip_id[: tcb.CHIP_ID_BYTES[bench.line]]
    if bench.leaf.kind == "vcek" and bench.leaf.hardware_id != chip:
        raise EvidenceError(
            "hwid",
            "hwID of the VCEK",
            seen=(bench.leaf.hardware_id or b"").hex(),
            wanted=f"{chip.hex()}, the report's CHIP_ID",
        )
    whose = f"chip {chip.hex()[:8]}…" if bench.leaf.kind == "vcek" else f"{bench.leaf.csp_id}"
    return lambda: f"{whose}, {tcb.decode(bench.report.reported_tcb, bench.line)}"


# ---- what the report speaks for


def _endorsement(bench: Bench) -> Sentence:
    """Evidence without one is for policy to judge."""
    if bench.pieces.uvm_endorsement is None:
        raise Absent("none came with the evidence")
    bench.found_endorsement = uvm.read(bench.pieces.uvm_endorsement)
    told = bench.found_endorsement
    return lambda: f"{told.feed} {told.svn}, signed {told.signed_at.date()}"


def _endorsement_authority(bench: Bench) -> str:
    bench.endorsement.require_platform(simulated=bench.roots.platform == "simulated")
    return f"an issuer for the platform {bench.roots.platform}"


def _endorsed_launch(bench: Bench) -> Sentence:
    measurement = bench.report.measurement
    bench.endorsement.require_launch(measurement)
    return lambda: f"{measurement.hex()[:16]}… is the report's MEASUREMENT"


def _binding(bench: Bench) -> Sentence:
    claims = bench.pieces.claims
    if claims is None:
        raise Unasked("no runtime data that REPORT_DATA could be of")
    wanted, seen = report_data(claims), bench.report.report_data
    if not hmac.compare_digest(seen, wanted):
        raise EvidenceError(
            "report_data",
            "REPORT_DATA",
            seen=seen.hex(),
            wanted=f"{wanted.hex()}, SHA-256 of the runtime claims and 32 zero bytes",
            hint="the report was made for other claims",
        )
    return lambda: f"SHA-256 of the {len(claims)} bytes of runtime data, then zeros"


SIGNED: Final = (
    Check("report length", _length),
    Check("report version", _version),
    Check("signature algorithm", _algorithm),
    Check("reserved bytes", _reserved),
    Check("signing key", _signing_key),
    Check("signature form", _signature_form),
    Check("leaf", _leaf_certificate),
    Check("leaf name", _leaf_kind),
    Check("leaf key", _leaf_key),
    Check("leaf extensions", _leaf_extensions),
    Check("intermediate", _intermediate),
    Check("leaf issuer", _issuer),
    Check("kind of key", _kind),
    Check("processor", _processor),
    Check("structure", _struct_version),
    Check("product", _product_name),
    Check("chain of names", _names),
    Check("root", _trust),
    Check("root signed", _root),
    Check("root name", _root_name),
    Check("authorities", _authorities),
    Check("organization", _organization),
    Check("intermediate signed", _intermediate_signature),
    Check("leaf signed", _leaf_signature),
    Check("leaf valid", _leaf_window),
    Check("intermediate valid", _intermediate_window),
    Check("root valid", _root_window),
    Check("revocation list", _crl),
    Check("list signed", _crl_signature),
    Check("list valid", _crl_window),
    Check("revocation", _revocation),
    Check("report signed", _report_signature),
    Check("tcb layout", _tcb_form),
    Check("other levels", _other_levels),
    Check("chip id", _chip_form),
    Check("leaf issued for", _issued_for),
)
"""Whether genuine hardware signed the report, whomever it speaks for."""

ALL: Final = (
    *SIGNED,
    Check("launch endorsement", _endorsement),
    Check("endorsed by", _endorsement_authority),
    Check("endorsed launch", _endorsed_launch),
    Check("report data", _binding),
)
"""`SIGNED`, who vouches for the launch, and whom the report speaks for."""
