"""Endorsements of a utility VM: who vouches that a launch measurement is which version of what.

A COSE_Sign1 message in one of two forms, told apart by the CWT claims (label 15), never mixed:

    A   iss, feed, signingtime (text labels), content type 3 application/json;
        payload: JSON with x-ms-sevsnpvm-launchmeasurement and x-ms-sevsnpvm-guestsvn[-int]
    B   CWT claims 15 {1 iss, 2 sub: the feed, 6 iat, "svn"}, 258 SHA-384,
        259 application/octet-stream; payload: the 48 bytes of the measurement

Both carry their chain (33, leaf first, root last) and the digest of its leaf (34). The chain is
judged at the signing time, which the signer states and nobody else confirms: signers' certificates
live for a year and endorsements longer. The unprotected header, a time stamp or a ledger's receipt,
is not signed and not read: it can be exchanged without making the message another one.

Raises EvidenceError with one of these codes, and nothing else:

    uvm_malformed    not such a message, or neither form
    uvm_algorithm    signed with an algorithm that is not allowed
    uvm_x5t          the digest is not that of the leaf
    uvm_chain        certificates cannot be read, or do not vouch for each other
    uvm_time         a certificate was not valid at the signing time
    uvm_did          the issuer's did:x509 is no such name, or the chain does not prove it
    uvm_signature    not signed by the leaf's key
    uvm_payload      the payload cannot be read, or its measurement is not 48 bytes
    uvm_svn          no version number, or not one plain number
    uvm_authority    a simulated issuer speaks for real hardware, or the other way round
    uvm_measurement  it is of another measurement than the report's

The last two take a report: `checks.py` asks them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import cbor2

from sealserve.attestation import cose, did_x509, json_object, x509_path
from sealserve.attestation.cose import Label, Sign1
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.x509_path import PathCertificate
from sealserve.native.errors import EvidenceError

MEASUREMENT_BYTES: Final = 48
MAX_SVN: Final = 2**31 - 1  # as trust files have it
MAX_JSON_BYTES: Final = 4096  # real ones have 250

# RFC 9052, section 3.1; RFC 9597; RFC 9360, section 2; RFC 9995 (hash envelope).
_CONTENT_TYPE: Final = 3
_CWT_CLAIMS: Final = 15
_X5CHAIN: Final = 33
_X5T: Final = 34
_PAYLOAD_HASH: Final = 258
_PREIMAGE_TYPE: Final = 259
# RFC 8392, section 4; "svn" is Microsoft's.
_ISSUER: Final = 1
_SUBJECT: Final = 2
_AUDIENCE: Final = 3
_EXPIRES: Final = 4
_NOT_BEFORE: Final = 5
_ISSUED_AT: Final = 6
_SVN: Final = "svn"

# RFC 9054, section 3.2.
_SHA256: Final = -16
_SHA384: Final = -43
_FORM_A: Final = ("iss", "feed", "signingtime", _CONTENT_TYPE)
_FORM_B: Final = (_CWT_CLAIMS, _PAYLOAD_HASH, _PREIMAGE_TYPE)

_MEASUREMENT_MEMBER: Final = "x-ms-sevsnpvm-launchmeasurement"
_SVN_MEMBERS: Final = ("x-ms-sevsnpvm-guestsvn", "x-ms-sevsnpvm-guestsvn-int")
_HEX: Final = re.compile(r"[0-9a-f]{96}")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS: Final = 2**33  # the year 2242

_CODES: Final[Mapping[str, str]] = {
    "cose_malformed": "uvm_malformed",
    "cose_algorithm": "uvm_algorithm",
    "cose_signature": "uvm_signature",
    "x509_unparseable": "uvm_chain",
    "x509_path": "uvm_chain",
    "x509_time": "uvm_time",
    "did_syntax": "uvm_did",
    "did_mismatch": "uvm_did",
    "did_key_usage": "uvm_did",
}


@dataclass(frozen=True, slots=True)
class UvmEndorsement:
    """Issuer `issuer` vouches that `measurement` is version `svn` of the product `feed`.

    issuer: a did:x509, whole, proven by the chain. measurement: 48 bytes. signed_at: as the signer
    says. simulated: every certificate of the chain says it belongs to a simulated platform.
    """

    issuer: str
    feed: str
    svn: int
    measurement: bytes
    signed_at: datetime
    simulated: bool

    def require_platform(self, *, simulated: bool) -> None:
        """Simulated and real never speak for each other. Raises EvidenceError (uvm_authority).

        A simulated issuer can say anything of real hardware, and a simulated machine can show any
        measurement that a real issuer endorsed.
        """
        if self.simulated != simulated:
            raise EvidenceError(
                "uvm_authority",
                "issuer of the endorsement",
                seen="a simulated one" if self.simulated else "one that is not simulated",
                wanted="a simulated one" if simulated else "one for real hardware",
                hint="simulated and real never mix",
            )

    def require_launch(self, measurement: bytes) -> None:
        """It is of exactly this launch. Raises EvidenceError (uvm_measurement)."""
        if self.measurement != measurement:
            raise EvidenceError(
                "uvm_measurement",
                "endorsed measurement",
                seen=self.measurement.hex(),
                wanted=f"{measurement.hex()}, the report's MEASUREMENT",
                hint="an endorsement from before an update of the utility VM?",
            )


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that an issuer genuinely signed; whether it is an endorsement says its payload.

    svn: form B states it beside the payload, form A (None here) inside.
    """

    issuer: str
    feed: str
    signed_at: datetime
    simulated: bool
    svn: int | None
    payload: bytes

    def endorsement(self) -> UvmEndorsement:
        """Read the payload. Raises EvidenceError (uvm_payload, uvm_svn)."""
        if self.svn is None:
            svn, measurement = _json_payload(self.payload)
        else:
            svn, measurement = self.svn, self.payload
        if len(measurement) != MEASUREMENT_BYTES:
            raise EvidenceError(
                "uvm_payload",
                "endorsed measurement",
                seen=f"{len(measurement)} bytes",
                wanted=f"{MEASUREMENT_BYTES} bytes",
            )
        return UvmEndorsement(
            self.issuer, self.feed, svn, measurement, self.signed_at, self.simulated
        )


def read(data: bytes, algorithms: Collection[cose.Algorithm] = (cose.PS384,)) -> UvmEndorsement:
    """A genuine endorsement. By whom and of what is for policy, and the report, to compare.

    algorithms: those a signer may use. Raises EvidenceError with a code of the module's list.
    """
    return _read(data, tuple(algorithms))


# Nothing of it depends on today: the chain is judged at the signing time. One document speaks for
# every machine of a release, for months.
@lru_cache(maxsize=16)
def _read(data: bytes, algorithms: tuple[cose.Algorithm, ...]) -> UvmEndorsement:
    return statement(data, algorithms).endorsement()


def statement(data: bytes, algorithms: Collection[cose.Algorithm] = (cose.PS384,)) -> Statement:
    """The same without reading the payload, for tools that explain messages."""
    with _as_endorsement():
        message = Sign1.parse(data)
        message.algorithm(algorithms)
        chain = _chain(message)
        form = _form_b if _CWT_CLAIMS in message.protected else _form_a
        told = form(message, _simulated(chain))
        resolved = did_x509.resolve_path(told.issuer, chain, told.signed_at)
        if resolved.did != told.issuer or not resolved.asserts:
            raise EvidenceError(
                "uvm_did",
                "issuer of an endorsement",
                seen=_shown(told.issuer),
                wanted="a DID without a fragment, proven by a key that may sign",
            )
        message.verify(resolved.key, algorithms)
    return told


@contextmanager
def _as_endorsement() -> Iterator[None]:
    """What fails in a layer below counts as a failure of the endorsement."""
    try:
        yield
    except EvidenceError as error:
        raise error.counted_as(_CODES.get(error.code, error.code)) from error


def _form_a(message: Sign1, simulated: bool) -> Statement:
    header = message.protected
    _require_none(header, _FORM_B, "form A")
    if header.get(_CONTENT_TYPE) != "application/json":
        raise _malformed("content type (3)", header.get(_CONTENT_TYPE), "application/json")
    return Statement(
        issuer=_text(header, "iss"),
        feed=_text(header, "feed"),
        signed_at=_time("signingtime", _untagged(header.get("signingtime"))),
        simulated=simulated,
        svn=None,
        payload=message.payload,
    )


def _form_b(message: Sign1, simulated: bool) -> Statement:
    header = message.protected
    _require_none(header, _FORM_A, "form B")
    claims = header[_CWT_CLAIMS]
    if type(claims) is not dict:
        raise _malformed("CWT claims (15)", claims, "a map")
    # What would limit the statement's use must not be passed over.
    _require_none(claims, (_AUDIENCE, _EXPIRES, _NOT_BEFORE), "the claims of form B")
    if header.get(_PAYLOAD_HASH) != _SHA384:
        raise _malformed("payload hash (258)", header.get(_PAYLOAD_HASH), f"{_SHA384}, SHA-384")
    if header.get(_PREIMAGE_TYPE) != "application/octet-stream":
        raise _malformed(
            "preimage type (259)", header.get(_PREIMAGE_TYPE), "application/octet-stream"
        )
    return Statement(
        issuer=_text(claims, _ISSUER),
        feed=_text(claims, _SUBJECT),
        # RFC 8392, section 2 leaves out the tag, the real ones have it
        signed_at=_time("iat (6)", _untagged(claims.get(_ISSUED_AT), claims.get(_ISSUED_AT))),
        simulated=simulated,
        svn=_number("svn", claims.get(_SVN)),
        payload=message.payload,
    )


def _chain(message: Sign1) -> Sequence[PathCertificate]:
    """The certificates of x5chain; x5t names the first one, and the last one signed itself."""
    chain = message.protected.get(_X5CHAIN)
    if type(chain) is not list or not all(type(certificate) is bytes for certificate in chain):
        raise _malformed("x5chain (33)", chain, "an array of certificates")
    certificates = x509_path.read(chain)
    digest = hashlib.sha256(chain[0]).digest()
    if message.protected.get(_X5T) != [_SHA256, digest]:
        raise EvidenceError(
            "uvm_x5t",
            "x5t (34) of an endorsement",
            seen=_shown(message.protected.get(_X5T)),
            wanted=f"[{_SHA256}, {digest.hex()}]",
        )
    if not certificates[-1].self_issued:
        raise EvidenceError(
            "uvm_chain", "last certificate of x5chain", seen="no root", wanted="a self-signed root"
        )
    return certificates


def _simulated(chain: Sequence[PathCertificate]) -> bool:
    """Every subject says that it is simulated, or none does."""
    said = {certificate.organization == SIMULATED_ORGANIZATION for certificate in chain}
    if len(said) != 1:
        raise EvidenceError(
            "uvm_chain",
            "organizations in x5chain",
            seen="simulated and real ones",
            wanted="one or the other",
        )
    return said.pop()


def _json_payload(payload: bytes) -> tuple[int, bytes]:
    """SVN and measurement of form A; members nobody knows are passed over."""
    if len(payload) > MAX_JSON_BYTES:
        raise EvidenceError(
            "uvm_payload",
            "payload of an endorsement",
            seen=f"{len(payload)} bytes",
            wanted=f"at most {MAX_JSON_BYTES}",
        )
    members = json_object.read(payload, "uvm_payload", "the payload of an endorsement")
    measurement = members.get(_MEASUREMENT_MEMBER)
    if not isinstance(measurement, str) or not _HEX.fullmatch(measurement):
        raise EvidenceError(
            "uvm_payload", _MEASUREMENT_MEMBER, seen=_shown(measurement), wanted="96 digits 0-9a-f"
        )
    numbers = {_number(name, members[name]) for name in _SVN_MEMBERS if name in members}
    if len(numbers) != 1:
        raise EvidenceError(
            "uvm_svn",
            " and ".join(_SVN_MEMBERS),
            seen=" and ".join(map(str, sorted(numbers))) or "neither",
            wanted="one number in one or both",
        )
    return numbers.pop(), bytes.fromhex(measurement)


def _number(name: str, value: object) -> int:
    """Integers and plain decimal texts were both written over the years."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_SVN:
        raise EvidenceError("uvm_svn", name, seen=_shown(value), wanted=f"0 to {MAX_SVN}")
    return value


def _text(header: Mapping[Label, object], label: Label) -> str:
    value = header.get(label)
    if not isinstance(value, str):
        raise _malformed(f"label {label!r}", value, "a text")
    return value


def _untagged(value: object, otherwise: object = None) -> object:
    return value.value if isinstance(value, cbor2.CBORTag) else otherwise


def _time(what: str, seconds: object) -> datetime:
    if type(seconds) is not int or not 0 <= seconds <= _MAX_SECONDS:
        raise _malformed(what, seconds, "a time, in seconds since 1970")
    return _EPOCH + timedelta(seconds=seconds)


def _require_none(header: Mapping[Label, object], labels: Sequence[Label], where: str) -> None:
    for label in labels:
        if label in header:
            raise _malformed(f"label {label!r}", "there", f"not in {where}")


def _malformed(what: str, seen: object, wanted: str) -> EvidenceError:
    return EvidenceError(
        "uvm_malformed", f"{what} of an endorsement", seen=_shown(seen), wanted=wanted
    )


def _shown(value: object) -> str:
    """What a stranger wrote, cut short and without what a terminal would obey."""
    return ascii(value)[:80]
