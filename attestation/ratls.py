"""The server's certificate: self-signed, with evidence for its own key inside.

Profile (all of it, in both directions): version 3, ECDSA P-256 with SHA-256, issuer = subject =
CN sealserve.internal, signed by its own key; exactly five extensions: basicConstraints (critical,
CA false), keyUsage (critical, exactly digitalSignature), extendedKeyUsage (exactly serverAuth),
subjectAltName (exactly DNS sealserve.internal), and id-pe-cmw with the evidence.

gRPC trusts any leaf signed by a certificate that is pinned as a root. A client therefore checks
this profile before it pins: a certificate that may not sign cannot vouch for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealserve.attestation import asn1, der
from sealserve.attestation import evidence as envelope
from sealserve.attestation.evidence import MAX_EVIDENCE_BYTES, Evidence
from sealserve.native.errors import EvidenceError

SERVER_NAME: Final = "sealserve.internal"
MAX_CERTIFICATE_BYTES: Final = MAX_EVIDENCE_BYTES + 1024  # the rest of it takes about 500
MAX_LIFETIME: Final = timedelta(days=31)
CLOCK_SKEW: Final = timedelta(minutes=5)

# id-pe-cmw, draft-ietf-rats-msg-wrap-22: CMW ::= CHOICE { json UTF8String, cbor OCTET STRING }.
EVIDENCE_OID: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.35")
_VERSION: Final = 0xA0  # the tags of TBSCertificate's own, RFC 5280, 4.1
_EXTENSIONS: Final = 0xA3
_UNREADABLE: Final = (
    TypeError,  # a name whose value is a BIT STRING, but for the one attribute that has one
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A certificate of the profile. Its evidence is only read: `verify` comes next.

    spki_sha256: SHA-256 of the SubjectPublicKeyInfo, what `tls` claims must name.
    """

    der: bytes
    spki_sha256: bytes
    not_after: datetime
    evidence: Evidence


def spki_sha256(key: ec.EllipticCurvePublicKey) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo, as claims name it."""
    return hashlib.sha256(_spki(key)).digest()


def new_certificate(
    key: ec.EllipticCurvePrivateKey,
    evidence: Evidence,
    now: datetime,
    *,
    lifetime: timedelta = MAX_LIFETIME,
) -> bytes:
    """A certificate of the profile for this P-256 key, DER. ValueError for another curve."""
    if not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"the key is on {key.curve.name}; wanted P-256")
    builder = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now - CLOCK_SKEW + lifetime)
    )
    for extension in _profile():
        builder = builder.add_extension(extension.value, extension.critical)
    wrapped = asn1.octets(envelope.encode(evidence))
    builder = builder.add_extension(
        x509.UnrecognizedExtension(EVIDENCE_OID, wrapped), critical=False
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def read_certificate(data: bytes, now: datetime) -> ServerCertificate:
    """Read a certificate of the profile; nothing else passes.

    What any certificate must be comes first: readable, and in its time. Then the profile.
    Raises EvidenceError: certificate_size, certificate_unparseable, cert_window, certificate_key,
    certificate_names, certificate_signature, certificate_extensions, certificate_lifetime, or what
    reading the evidence raises.
    """
    _require_size(data)
    spki = _read_spki(data)
    certificate = _parse(data)
    _require_window(certificate, now)
    key = _require_key(certificate, spki)
    _require_own_signature(certificate, key)
    wrapped = _require_extensions(certificate)
    _require_lifetime(certificate)
    return ServerCertificate(
        der=data,
        spki_sha256=spki_sha256(key),
        not_after=certificate.not_valid_after_utc,
        evidence=envelope.decode(_unwrap(wrapped)),
    )


def _profile() -> list[x509.Extension[x509.ExtensionType]]:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    fixed: list[tuple[bool, x509.ExtensionType]] = [
        (True, x509.BasicConstraints(ca=False, path_length=None)),
        (True, usage),
        (False, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
        (False, x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)])),
    ]
    return [x509.Extension(value.oid, critical, value) for critical, value in fixed]


def _require_size(data: bytes) -> None:
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise EvidenceError(
            "certificate_size",
            "the server's certificate is too long",
            seen=f"{len(data)} bytes",
            wanted=f"at most {MAX_CERTIFICATE_BYTES}",
        )


def _read_spki(data: bytes) -> bytes:
    """SubjectPublicKeyInfo as it stands, after what `cryptography` reads over or only warns of.

    That is an old version, a serial number of 0 or below, another algorithm inside the signed part
    than outside, and unique identifiers.
    """
    outer = der.document(data)
    tbs = der.document(outer.whole(der.SEQUENCE))
    algorithm = outer.whole(der.SEQUENCE)
    tbs.element(_VERSION)
    if tbs.integer() == 0:
        raise _refused("unparseable", "serial number of the certificate", "0", "above 0")
    if tbs.whole(der.SEQUENCE) != algorithm:
        raise _refused(
            "signature", "signature algorithm of the certificate", "two of them", "the same twice"
        )
    for _ in ("issuer", "validity", "subject"):
        tbs.whole(der.SEQUENCE)
    spki = tbs.whole(der.SEQUENCE)
    tbs.element(_EXTENSIONS)
    return spki


def _parse(data: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(data)
        # These are parsed only when looked at.
        _ = certificate.extensions, certificate.subject, certificate.issuer
    except (ValueError, *_UNREADABLE) as error:
        raise _refused(
            "unparseable", "the server's certificate", "something else", "X.509, version 3"
        ) from error
    return certificate


def _require_key(certificate: x509.Certificate, spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused(
            "key", "the certificate's key", "one we cannot read", "ECDSA on P-256"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused("key", "the certificate's key", type(key).__name__, "ECDSA on P-256")
    if spki != _spki(key):  # claims name the digest of one spelling
        raise _refused("key", "point of the certificate's key", "another form", "uncompressed")
    return key


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _require_own_signature(certificate: x509.Certificate, key: ec.EllipticCurvePublicKey) -> None:
    if certificate.subject != _NAME or certificate.issuer != _NAME:
        raise _refused(
            "names",
            "subject and issuer of the certificate",
            f"{_shown(certificate.subject)}; {_shown(certificate.issuer)}",
            f"CN={SERVER_NAME} both",
        )
    if certificate.signature_algorithm_oid != x509.SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise _refused(
            "signature",
            "signature algorithm of the certificate",
            certificate.signature_algorithm_oid.dotted_string,
            "ECDSA with SHA-256",
        )
    try:
        key.verify(
            certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256())
        )
    except InvalidSignature as error:
        raise _refused(
            "signature",
            "signature of the certificate",
            "one by another key",
            "one by its own key",
            hint="somebody holding a certificate that was once attested may have signed it",
        ) from error


def _require_extensions(certificate: x509.Certificate) -> bytes:
    """Exactly the five of the profile; returns the value of the evidence extension."""
    wanted = {extension.oid: extension for extension in _profile()}
    seen = {extension.oid: extension for extension in certificate.extensions}
    if seen.keys() != wanted.keys() | {EVIDENCE_OID}:
        raise _refused(
            "extensions",
            "extensions of the certificate",
            _oids(seen.keys()),
            _oids(wanted.keys() | {EVIDENCE_OID}),
        )
    for oid, extension in wanted.items():
        if seen[oid] != extension:
            raise _refused(
                "extensions",
                f"extension {oid.dotted_string} of the certificate",
                _describe(seen[oid]),
                _describe(extension),
            )
    evidence = seen[EVIDENCE_OID]
    if evidence.critical or not isinstance(evidence.value, x509.UnrecognizedExtension):
        raise _refused("extensions", "the evidence extension", "critical", "not critical")
    return evidence.value.value


def _require_window(certificate: x509.Certificate, now: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        raise EvidenceError(
            "cert_window",
            "the certificate is not valid yet",
            seen=now.isoformat(),
            wanted=f"not before {start.isoformat()}",
            hint="compare the clocks",
        )
    if now > end:
        raise EvidenceError(
            "cert_window",
            "the certificate has expired",
            seen=now.isoformat(),
            wanted=f"not after {end.isoformat()}",
            hint="the server should have rotated it",
        )


def _require_lifetime(certificate: x509.Certificate) -> None:
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if lifetime > MAX_LIFETIME:
        raise _refused(
            "lifetime", "lifetime of the certificate", str(lifetime), f"at most {MAX_LIFETIME}"
        )


def _shown(name: x509.Name) -> str:
    """A stranger's name: escaped, and not all of a long one."""
    return ascii(name.rfc4514_string())[1:-1][:200]


def _oids(oids: Iterable[x509.ObjectIdentifier]) -> str:
    return ", ".join(sorted(oid.dotted_string for oid in oids))


def _describe(extension: x509.Extension[x509.ExtensionType]) -> str:
    return f"{'critical' if extension.critical else 'not critical'}, {extension.value!r:.200}"


def _unwrap(value: bytes) -> bytes:
    reader = der.Reader(value)
    cbor = reader.element(der.OCTET_STRING)
    reader.end()
    return cbor


def _refused(what: str, message: str, seen: str, wanted: str, *, hint: str = "") -> EvidenceError:
    if not hint and what in ("key", "names", "extensions"):
        hint = "is this a sealserve server? another service may answer at this address"
    return EvidenceError(f"certificate_{what}", message, seen=seen, wanted=wanted, hint=hint)
