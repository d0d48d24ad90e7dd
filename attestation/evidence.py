"""What a machine sends to prove itself, and its one encoding.

The encoding is a RATS conceptual message wrapper (draft-ietf-rats-msg-wrap-22, section 3): a CBOR
collection whose members are records `[media type, bytes, indicator]`.

    "claims"        application/json                                    evidence
    "report"        application/vnd.amd.sev-snp.attestation-report      evidence
    "leaf"          application/pkix-cert         VCEK or VLEK          endorsement
    "intermediate"  application/pkix-cert         ASK or ASVK           endorsement
    "root"          application/pkix-cert         ARK, simulated only   endorsement
    "crl"           application/pkix-crl                                endorsement
    "uvm"           application/cose; cose-type="cose-sign1"            endorsement

Claims, report, leaf and intermediate are always there; the others when there is something to say.
An ARK in evidence is never trusted for being there: a verifier knows its digest beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import cbor2

from sealserve.native.errors import EvidenceError

MAX_EVIDENCE_BYTES: Final = 64 * 1024  # a UVM endorsement takes 12 KiB, everything else 8
MAX_MEMBER_BYTES: Final = 32 * 1024
MEDIA_TYPE: Final = "application/cmw+cbor"

# `.internal` is reserved for private use, so this tag URI (RFC 4151) collides with nobody's.
COLLECTION_TYPE: Final = "tag:sealserve.internal,2026:evidence"
_TYPE_LABEL: Final = "__cmwc_t"

# Indicator bits, draft-ietf-rats-msg-wrap-22, section 3.1 (cm-type).
_ENDORSEMENT: Final = 1 << 1
_EVIDENCE: Final = 1 << 2

# Media type of the report: draft-deeglaze-amd-sev-snp-corim-profile, IANA considerations.
_RECORDS: Final[Mapping[str, tuple[str, int]]] = {
    "claims": ("application/json", _EVIDENCE),
    "report": ("application/vnd.amd.sev-snp.attestation-report", _EVIDENCE),
    "leaf": ("application/pkix-cert", _ENDORSEMENT),
    "intermediate": ("application/pkix-cert", _ENDORSEMENT),
    "root": ("application/pkix-cert", _ENDORSEMENT),
    "crl": ("application/pkix-crl", _ENDORSEMENT),
    "uvm": ('application/cose; cose-type="cose-sign1"', _ENDORSEMENT),
}
_REQUIRED: Final = ("claims", "report", "leaf", "intermediate")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A report, the runtime claims it speaks for, and what is needed to check it offline.

    report: as the firmware wrote it. leaf, intermediate, root: certificates, DER. crl: DER.
    uvm_endorsement: COSE_Sign1. claims: the very bytes that were hashed into REPORT_DATA.
    Nothing here is checked; `verify` does that.
    """

    report: bytes
    leaf: bytes
    intermediate: bytes
    claims: bytes
    root: bytes | None = None
    crl: bytes | None = None
    uvm_endorsement: bytes | None = None


class EvidenceSource(Protocol):
    """A machine's way to make evidence. platform: "simulated", "snp" or "aci"."""

    @property
    def platform(self) -> str:
        """Which kind of machine answers."""

    def evidence(self, claims: bytes) -> Evidence:
        """Fresh evidence for these claims. UnavailableError when the platform does not answer."""


def encode(evidence: Evidence) -> bytes:
    """The CBOR form of the evidence. ValueError if it would be larger than `decode` reads."""
    collection: dict[str, object] = {_TYPE_LABEL: COLLECTION_TYPE}
    for label, value in _members(evidence).items():
        if value is not None:
            media_type, indicator = _RECORDS[label]
            collection[label] = [media_type, value, indicator]
    encoded = cbor2.dumps(collection, canonical=True)
    if len(encoded) > MAX_EVIDENCE_BYTES:
        raise ValueError(f"evidence of {len(encoded)} bytes; at most {MAX_EVIDENCE_BYTES}")
    return encoded


def decode(data: bytes) -> Evidence:
    """Read evidence. Raises EvidenceError: evidence_size or evidence_malformed, nothing else.

    Accepts exactly what `encode` writes: known labels and media types, definite lengths, no
    repeated label, deterministic order, nothing after it.
    """
    if len(data) > MAX_EVIDENCE_BYTES:
        raise EvidenceError(
            "evidence_size",
            "evidence is too long",
            seen=f"{len(data)} bytes",
            wanted=f"at most {MAX_EVIDENCE_BYTES}",
        )
    evidence = _build(_records(_collection(data)))
    if encode(evidence) != data:
        raise _malformed("the encoding is not the deterministic one, or bytes follow it")
    return evidence


def _members(evidence: Evidence) -> dict[str, bytes | None]:
    return {
        "claims": evidence.claims,
        "report": evidence.report,
        "leaf": evidence.leaf,
        "intermediate": evidence.intermediate,
        "root": evidence.root,
        "crl": evidence.crl,
        "uvm": evidence.uvm_endorsement,
    }


def _collection(data: bytes) -> dict[object, object]:
    try:
        value = cbor2.loads(
            data,
            max_depth=3,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            tag_hook=_refuse_tag,
        )
    except (cbor2.CBORError, ValueError, EOFError, OverflowError) as error:
        raise _malformed("it is not CBOR we can read") from error
    if type(value) is not dict:
        raise _malformed(f"it is a CBOR {type(value).__name__}, not a collection")
    return value


def _refuse_tag(tag: cbor2.CBORTag, _immutable: bool) -> object:
    raise ValueError(f"CBOR tag {tag.tag}")


def _records(collection: dict[object, object]) -> dict[str, bytes]:
    if collection.pop(_TYPE_LABEL, None) != COLLECTION_TYPE:
        raise _malformed(f"it is not a collection of type {COLLECTION_TYPE}")
    return {_known(label): _value(label, record) for label, record in collection.items()}


def _known(label: object) -> str:
    if not isinstance(label, str) or label not in _RECORDS:
        raise _malformed(f"label {label!r:.40} is unknown")
    return label


def _value(label: object, record: object) -> bytes:
    media_type, indicator = _RECORDS[_known(label)]
    if type(record) is not list or len(record) != 3:
        raise _malformed(f"{label} is not a record of three")
    seen_type, value, seen_indicator = record
    if seen_type != media_type or seen_indicator != indicator or type(seen_indicator) is not int:
        raise _malformed(f"{label} is not {media_type} with indicator {indicator}")
    if type(value) is not bytes or not 0 < len(value) <= MAX_MEMBER_BYTES:
        raise _malformed(f"{label} is not 1 to {MAX_MEMBER_BYTES} bytes")
    return value


def _build(records: dict[str, bytes]) -> Evidence:
    missing = [label for label in _REQUIRED if label not in records]
    if missing:
        raise _malformed(f"no {missing[0]}")
    return Evidence(
        report=records["report"],
        leaf=records["leaf"],
        intermediate=records["intermediate"],
        claims=records["claims"],
        root=records.get("root"),
        crl=records.get("crl"),
        uvm_endorsement=records.get("uvm"),
    )


def _malformed(why: str) -> EvidenceError:
    return EvidenceError(
        "evidence_malformed", "evidence cannot be read", seen=why, wanted="what `encode` writes"
    )
