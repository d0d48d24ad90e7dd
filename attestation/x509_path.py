"""Certification paths that come with a message, leaf first (RFC 5280, section 6).

For certificates of ordinary authorities; AMD's have a reader of their own (`certs`). A library
reads the certificates, the checks of the path are ours. The last certificate is taken as the trust
anchor: whether it deserves trust is for whoever compares its fingerprint.

Stricter than RFC 5280: version 3 and a positive serial number everywhere, signatures with SHA-2 or
Ed25519, RSA keys of 2048 to 8192 bits, curves P-256, P-384 and P-521, CAs that state their key
usage. Policies are not evaluated, so a path that requires explicit ones is refused.
Raises EvidenceError and nothing else: x509_unparseable, x509_path, x509_time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sealserve.attestation import der, x509_names
from sealserve.attestation.certs import MAX_CERTIFICATE_BYTES
from sealserve.attestation.x509_names import AlternativeName, unreadable
from sealserve.native.errors import EvidenceError

MAX_PATH: Final = 8  # real ones have three certificates
RSA_BITS: Final = range(2048, 8192 + 1)  # below: too weak (RFC 8230, section 2); above: slow

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_DIGESTS: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# did:x509 method specification, DID Resolution, step 2: all that may be marked critical.
_MAY_BE_CRITICAL: Final = frozenset(
    {
        "2.5.29.15",  # keyUsage
        "2.5.29.17",  # subjectAltName
        "2.5.29.19",  # basicConstraints
        "2.5.29.30",  # nameConstraints
        "2.5.29.32",  # certificatePolicies
        "2.5.29.33",  # policyMappings
        "2.5.29.36",  # policyConstraints
        "2.5.29.37",  # extKeyUsage
        "2.5.29.54",  # inhibitAnyPolicy
    }
)
# Whatever the library may raise for bytes that are no certificate it reads. It warns of names
# longer than RFC 5280 has them and the like; a process that makes warnings errors refuses those.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UserWarning,
)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, eq=False)  # one object for the same bytes, while remembered
class PathCertificate:
    """A certificate that was read, with its extensions and a key of a kind we use.

    der: the bytes whose digest is its fingerprint. names: issuer and subject as they are encoded.
    critical: OIDs of the extensions that are. organization: what the subject says, empty if it
    says none. self_issued: issuer and subject are one name (RFC 5280, section 6.1). The rest is
    what the certificate says, which looks each of them up again when asked.
    """

    der: bytes
    names: tuple[bytes, bytes]
    certificate: x509.Certificate
    key: PublicKey
    critical: tuple[str, ...]
    values: Mapping[type[x509.ExtensionType], x509.ExtensionType]
    alternative_names: tuple[AlternativeName, ...]
    subject: x509.Name
    issuer: x509.Name
    organization: str
    self_issued: bool
    not_before: datetime
    not_after: datetime
    signed: bytes
    signature: bytes
    scheme: object
    digest: hashes.HashAlgorithm | None

    @classmethod
    def of(cls, data: bytes, signed: bytes, names: tuple[bytes, bytes]) -> PathCertificate:
        """Read DER. Raises whatever the library does for what it cannot read.

        signed: the part that was, and names: issuer and subject in it, as they are encoded.
        """
        certificate = x509.load_der_x509_certificate(data)
        extensions = certificate.extensions
        values = {type(one.value): one.value for one in extensions}
        subject, issuer = certificate.subject, certificate.issuer
        others = values.get(x509.SubjectAlternativeName)
        return cls(
            der=data,
            names=names,
            certificate=certificate,
            key=_usable(certificate.public_key()),
            critical=tuple(one.oid.dotted_string for one in extensions if one.critical),
            values=values,
            alternative_names=x509_names.alternative_names(
                others if isinstance(others, x509.SubjectAlternativeName) else None
            ),
            subject=subject,
            issuer=issuer,
            organization=_organization(subject),
            self_issued=subject == issuer,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            signed=signed,
            signature=certificate.signature,
            scheme=certificate.signature_algorithm_parameters,
            digest=certificate.signature_hash_algorithm,
        )

    def extension(self, kind: type[_Extension]) -> _Extension | None:
        """The extension of this kind, None if there is none."""
        value = self.values.get(kind)
        return value if isinstance(value, kind) else None


def _organization(subject: x509.Name) -> str:
    parts = subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    return ", ".join(str(part.value) for part in parts)


def read(chain: Sequence[bytes]) -> tuple[PathCertificate, ...]:
    """Read a chain of DER certificates. Raises EvidenceError (x509_unparseable, x509_path)."""
    if not 2 <= len(chain) <= MAX_PATH:
        raise _path("number of certificates", str(len(chain)), f"2 to {MAX_PATH}")
    return tuple(_read(data) for data in chain)


def require_valid(chain: Sequence[PathCertificate], at: datetime) -> None:
    """Each certificate must be signed by the next, and allowed to be, at this time.

    at: with a time zone. An anchor that names itself as its issuer must have signed itself.
    Raises EvidenceError (x509_path, x509_time).
    """
    if at.tzinfo is None:
        raise ValueError("the time has no time zone")
    for certificate in chain:
        _require_window(certificate, at)
    _require_path(tuple(chain))


@lru_cache(maxsize=64)  # endorsers of utility VMs have a new leaf once a year
def _require_path(chain: tuple[PathCertificate, ...]) -> None:
    """What holds or does not at any time."""
    for certificate in chain:
        _require_known(certificate)
    for below, issuer in pairwise(chain):
        _require_signed(below, issuer)
    if chain[-1].self_issued:
        _require_signed(chain[-1], chain[-1])
    for depth, issuer in enumerate(chain[1:], 1):
        _require_authority(issuer, [below for below in chain[1:depth] if not below.self_issued])
        _require_names(issuer, chain[:depth])


@lru_cache(maxsize=64)  # the authorities of a chain are the same ones for years
def _read(data: bytes) -> PathCertificate:
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise unreadable(f"{len(data)} bytes", f"at most {MAX_CERTIFICATE_BYTES}")
    signed, encoded = _require_head(data)
    try:
        read = PathCertificate.of(data, signed, encoded)
        names = (*read.subject, *read.issuer)
    except _UNREADABLE as error:
        raise unreadable(ascii(str(error))[1:81]) from error
    if any(type(attribute.value) is not str for attribute in names):
        raise unreadable("a name that holds no text")
    return read


def _require_head(data: bytes) -> tuple[bytes, tuple[bytes, bytes]]:
    """What the library may let through, or has announced to refuse one day.

    Returns what was signed, and issuer and subject in it, each with tag and length.
    """
    try:
        whole = der.document(data)
        signed = whole.whole(der.SEQUENCE)
        tbs = der.document(signed)
        version, serial = der.whole_integer(tbs.element(0xA0)), tbs.integer()
        algorithms = tbs.whole(der.SEQUENCE), whole.whole(der.SEQUENCE)
        issuer, _validity, subject = (tbs.whole(der.SEQUENCE) for _ in range(3))
    except EvidenceError as error:
        raise unreadable("something else", "strict DER") from error
    if version != 2 or serial == 0:
        raise unreadable(
            "another version, or serial number 0", "version 3, a serial number above 0"
        )
    if algorithms[0] != algorithms[1]:  # RFC 5280, section 4.1.1.2
        raise unreadable("two signature algorithms", "the same one inside and outside")
    return signed, (issuer, subject)


def _usable(key: object) -> PublicKey:
    match key:
        case rsa.RSAPublicKey() if key.key_size in RSA_BITS:
            return key
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, _CURVES):
            return key
        case ed25519.Ed25519PublicKey():
            return key
    raise unreadable(
        "a key of a kind or size that we do not use",
        "RSA of 2048 to 8192 bits, P-256, P-384, P-521, Ed25519",
    )


def _require_window(certificate: PathCertificate, at: datetime) -> None:
    start, end = certificate.not_before, certificate.not_after
    if not start <= at <= end:
        raise EvidenceError(
            "x509_time",
            f"time at which {_name(certificate)} is judged",
            seen=at.isoformat(),
            wanted=f"{start.isoformat()} to {end.isoformat()}",
        )


def _require_known(certificate: PathCertificate) -> None:
    """RFC 5280, section 4.2: what is critical and unknown refuses the certificate."""
    for oid in certificate.critical:
        if oid not in _MAY_BE_CRITICAL:
            raise _path(f"critical extension of {_name(certificate)}", oid, "none we do not know")
    policies = certificate.extension(x509.PolicyConstraints)
    if policies is not None and policies.require_explicit_policy is not None:
        raise _path(
            f"policy constraints of {_name(certificate)}", "explicit policies required", "none"
        )


def _require_signed(child: PathCertificate, parent: PathCertificate) -> None:
    """Names chain, and the signature is by the issuer's key."""
    if child.names[0] != parent.names[1]:  # byte for byte, stricter than RFC 5280, section 7.1
        raise _not_issued(child, parent)
    if child.digest is not None and not isinstance(child.digest, _DIGESTS):
        raise _path(f"digest in the signature of {_name(child)}", child.digest.name, "SHA-2")
    try:
        _verify(child, parent)
    except InvalidSignature as error:
        raise _path(f"signature of {_name(child)}", "another", "one by the next's key") from error
    except _UNREADABLE as error:
        raise _not_issued(child, parent) from error


def _verify(child: PathCertificate, parent: PathCertificate) -> None:
    """InvalidSignature, or whatever the library says of a key that does not fit the scheme."""
    match parent.key, child.scheme:
        case rsa.RSAPublicKey() as key, padding.AsymmetricPadding() as scheme if child.digest:
            key.verify(child.signature, child.signed, scheme, child.digest)
        case ec.EllipticCurvePublicKey() as key, ec.ECDSA() as scheme:
            key.verify(child.signature, child.signed, scheme)
        case ed25519.Ed25519PublicKey() as key, None:
            key.verify(child.signature, child.signed)
        case _:
            raise _not_issued(child, parent)


def _not_issued(child: PathCertificate, parent: PathCertificate) -> EvidenceError:
    return _path(
        f"issuer of {_name(child)}",
        ascii(child.issuer.rfc4514_string())[:80],
        f"{_name(parent)} and a key that fits",
    )


def _require_authority(issuer: PathCertificate, below: Sequence[PathCertificate]) -> None:
    """It is a CA that may sign certificates, this far from the leaf (RFC 5280, 6.1.4 k to n).

    below: the CAs between it and the leaf that count for the path length.
    """
    constraints = issuer.extension(x509.BasicConstraints)
    usage = issuer.extension(x509.KeyUsage)
    if constraints is None or not constraints.ca:
        raise _path(f"basic constraints of {_name(issuer)}", "no CA", "a CA")
    if usage is None or not usage.key_cert_sign:
        raise _path(f"key usage of {_name(issuer)}", "no keyCertSign", "keyCertSign")
    if constraints.path_length is not None and len(below) > constraints.path_length:
        raise _path(
            f"CAs below {_name(issuer)}", str(len(below)), f"at most {constraints.path_length}"
        )


def _require_names(issuer: PathCertificate, below: Sequence[PathCertificate]) -> None:
    """Whatever names stand below are those that the issuer may vouch for."""
    constraints = issuer.extension(x509.NameConstraints)
    if constraints is not None:
        for certificate in below:
            x509_names.require_within(
                constraints, certificate.subject, certificate.alternative_names
            )


def _name(certificate: PathCertificate) -> str:
    return ascii(certificate.subject.rfc4514_string())[1:-1][:80] or "a certificate without name"


def _path(what: str, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError("x509_path", what, seen=seen, wanted=wanted)
