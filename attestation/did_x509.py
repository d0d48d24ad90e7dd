"""did:x509: an issuer's name that a certificate chain proves (method specification, version 0).

    did:x509:0:<digest>:<fingerprint of a CA>::<predicate>[::<predicate>]...

Whoever compares such a name compares it whole; its parts mean something only while it is resolved
against a chain. Microsoft publishes the specification and its test vectors (microsoft/did-x509).
Raises EvidenceError and nothing else: did_syntax, did_mismatch, did_key_usage, and of the chain
x509_unparseable, x509_path, x509_time.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from cryptography import x509

from sealserve.attestation import x509_path
from sealserve.attestation.x509_names import AlternativeName, unreadable
from sealserve.attestation.x509_path import PathCertificate, PublicKey
from sealserve.native.errors import EvidenceError

MAX_DID_CHARACTERS: Final = 4096  # real ones have up to 150

_PREFIX: Final = "did:x509:0:"
_DIGESTS: Final = ("sha256", "sha384", "sha512")
# Section DID Syntax. What stands for itself is narrower than in a URI: no tilde.
_CHARACTERS: Final = r"(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+"
_AUTHORITY: Final = re.compile(r"([a-z0-9]+):([A-Za-z0-9_-]+)")
_PREDICATE: Final = re.compile(rf"([a-z-]+):({_CHARACTERS}(?::{_CHARACTERS})*)")
_FRAGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")  # RFC 3986
_OID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")

_LABELS: Final[Mapping[str, str]] = {  # RFC 4514, section 3, as far as the method has them
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
}
_SAN_KINDS: Final = ("email", "dns", "uri")
_FULCIO_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a DID means under one chain: the key of its leaf, and what the key may be used for.

    did: without a fragment. asserts: it may sign statements and authenticate (digitalSignature).
    agrees: it may agree on keys (keyAgreement).
    """

    did: str
    key: PublicKey
    asserts: bool
    agrees: bool


def resolve(did: str, chain: Sequence[bytes], at: datetime) -> Resolved:
    """Resolve a DID, or DID URL with a fragment, against a chain (DER, leaf first) at a time.

    at: with a time zone; when the chain has to be valid, such as the time of signing.
    Raises EvidenceError as the module says.
    """
    return resolve_path(did, x509_path.read(chain), at)


def resolve_path(did: str, chain: Sequence[PathCertificate], at: datetime) -> Resolved:
    """The same for a chain that was read."""
    x509_path.require_valid(chain, at)
    models = [_model(certificate) for certificate in chain]
    did, (digest, fingerprint), predicates = _parse(did)
    if fingerprint not in [_fingerprint(digest, issuer.der) for issuer in chain[1:]]:
        raise _mismatch("certificates", "none", f"one above the leaf with {digest} {fingerprint}")
    for name, value in predicates:
        _PREDICATES[name](value.split(":"), models[0])
    return _resolved(did, chain[0])


@dataclass(frozen=True, slots=True)
class _Model:
    """What predicates are compared with (section Certificate Chain JSON Model)."""

    subject: Mapping[str, str]
    san: tuple[AlternativeName, ...]
    eku: tuple[str, ...]
    fulcio_issuer: str | None


@lru_cache(maxsize=64)
def _model(certificate: PathCertificate) -> _Model:
    """Every name of the certificate must have a reading, though predicates want few."""
    _attributes(certificate.issuer)
    for _, value in certificate.alternative_names:
        if isinstance(value, x509.Name):
            _attributes(value)
    usages = certificate.extension(x509.ExtendedKeyUsage)
    return _Model(
        _attributes(certificate.subject),
        certificate.alternative_names,
        tuple(usage.dotted_string for usage in usages or ()),
        _fulcio_issuer(certificate),
    )


def _attributes(name: x509.Name) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in name:
        oid = attribute.oid.dotted_string
        label = _LABELS.get(oid, oid)
        if label in found:
            raise unreadable(f"a name that holds {label} twice", "each attribute once")
        found[label] = str(attribute.value)
    return found


def _fulcio_issuer(certificate: PathCertificate) -> str | None:
    for extension in certificate.certificate.extensions:
        if extension.oid == _FULCIO_ISSUER and isinstance(
            extension.value, x509.UnrecognizedExtension
        ):
            try:
                return extension.value.value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise unreadable("a Fulcio issuer that is no text", "UTF-8") from error
    return None


@lru_cache(maxsize=64)
def _parse(did: str) -> tuple[str, tuple[str, str], tuple[tuple[str, str], ...]]:
    """The DID without a fragment, its authority (digest and fingerprint), and its predicates."""
    if len(did) > MAX_DID_CHARACTERS:
        raise _syntax("length", f"{len(did)} characters", f"at most {MAX_DID_CHARACTERS}")
    did, _, fragment = did.partition("#")
    if not _FRAGMENT.fullmatch(fragment):
        raise _syntax("fragment", fragment, "characters of a fragment")
    if not did.startswith(_PREFIX):
        raise _syntax("beginning", did, _PREFIX)
    for mark, part in (("/", "path"), ("?", "query")):
        if mark in did:
            raise _syntax("DID URL", f"a {part}", "neither path nor query")
    authority, *predicates = did.removeprefix(_PREFIX).split("::")
    if not predicates:
        raise _syntax("predicates", "none", "at least one")
    return did, _authority(authority), tuple(map(_predicate, predicates))


def _authority(text: str) -> tuple[str, str]:
    match = _AUTHORITY.fullmatch(text)
    if match is None or match[1] not in _DIGESTS:
        raise _syntax("authority", text, f"{', '.join(_DIGESTS)} and a fingerprint")
    return match[1], match[2]


def _predicate(text: str) -> tuple[str, str]:
    match = _PREDICATE.fullmatch(text)
    if match is None:
        raise _syntax("predicate", text, "a name and percent-encoded values")
    if match[1] not in _PREDICATES:
        raise _syntax("predicate", match[1], ", ".join(_PREDICATES))
    return match[1], match[2]


def _subject(values: Sequence[str], leaf: _Model) -> None:
    """Pairs of key and value, each key once; all must stand in the subject of the leaf."""
    keys, wanted = values[::2], [_decoded(value) for value in values[1::2]]
    if len(keys) != len(wanted):
        raise _syntax("subject predicate", "an odd number of values", "pairs of key and value")
    if len(set(keys)) != len(keys):
        raise _syntax("subject predicate", "a key twice", "each key once")
    for key, value in zip(keys, wanted, strict=True):
        if key not in _LABELS.values() and not _OID.fullmatch(key):
            raise _syntax("subject predicate", key, f"{', '.join(_LABELS.values())} or an OID")
        if leaf.subject.get(key) != value:
            raise _mismatch("subject", leaf.subject.get(key, "none"), f"{key} {value}")


def _san(values: Sequence[str], leaf: _Model) -> None:
    if len(values) != 2 or values[0] not in _SAN_KINDS:
        raise _syntax("san predicate", ":".join(values), f"one of {', '.join(_SAN_KINDS)}, a value")
    kind, value = values[0], _decoded(values[1])
    if (kind, value) not in leaf.san:
        raise _mismatch("alternative names", f"{len(leaf.san)} others", f"{kind} {value}")


def _eku(values: Sequence[str], leaf: _Model) -> None:
    if len(values) != 1 or not _OID.fullmatch(values[0]):
        raise _syntax("eku predicate", ":".join(values), "an OID")
    if values[0] not in leaf.eku:
        raise _mismatch("extended key usage", ", ".join(leaf.eku) or "none", values[0])


def _fulcio(values: Sequence[str], leaf: _Model) -> None:
    if len(values) != 1:
        raise _syntax("fulcio-issuer predicate", ":".join(values), "one value")
    wanted = "https://" + _decoded(values[0])
    if leaf.fulcio_issuer != wanted:
        raise _mismatch("Fulcio issuer", leaf.fulcio_issuer or "none", wanted)


_PREDICATES: Final[Mapping[str, Callable[[Sequence[str], _Model], None]]] = {
    "subject": _subject,
    "san": _san,
    "eku": _eku,
    "fulcio-issuer": _fulcio,
}


def _decoded(value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise _syntax("percent-encoded value", value, "UTF-8") from error


@lru_cache(maxsize=64)
def _fingerprint(digest: str, der: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.new(digest, der).digest()).rstrip(b"=").decode()


def _resolved(did: str, leaf: PathCertificate) -> Resolved:
    """Section DID Resolution, steps 10 to 12; without keyUsage everything is allowed."""
    usage = leaf.extension(x509.KeyUsage)
    asserts = usage is None or usage.digital_signature
    agrees = usage is None or usage.key_agreement
    if not asserts and not agrees:
        raise EvidenceError(
            "did_key_usage",
            "key usage of the leaf",
            seen="neither",
            wanted="digitalSignature or keyAgreement",
        )
    return Resolved(did, leaf.key, asserts, agrees)


def _syntax(what: str, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError(
        "did_syntax", f"{what} of a did:x509", seen=ascii(seen)[:80], wanted=wanted
    )


def _mismatch(what: str, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError(
        "did_mismatch",
        f"{what} of the chain behind a did:x509",
        seen=ascii(seen)[:80],
        wanted=ascii(wanted)[:160],
    )
