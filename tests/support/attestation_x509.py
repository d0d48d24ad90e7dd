"""Certification paths of our own: each certificate as odd as a test wants it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

AT = datetime(2026, 6, 1, tzinfo=UTC)  # inside the windows below
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)

Extension = tuple[x509.ExtensionType, bool]


@cache
def ec_key(name: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """One key per name for all tests."""
    return ec.generate_private_key(curve())


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One key per name for all tests; RSA takes its time."""
    return rsa.generate_private_key(65537, bits)


def name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """A name of single-valued parts."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def common_name(text: str, organization: str = "Example") -> x509.Name:
    """A name with CN and O."""
    return name((NameOID.COMMON_NAME, text), (NameOID.ORGANIZATION_NAME, organization))


def usage(*bits: str) -> x509.KeyUsage:
    """KeyUsage with these bits."""
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{bit: bit in bits for bit in every})


def ca(path_length: int | None = None) -> Extension:
    """Critical BasicConstraints of a CA."""
    return x509.BasicConstraints(True, path_length), True


SIGNS_CERTIFICATES: Extension = (usage("key_cert_sign"), True)
NO_CA: Extension = (x509.BasicConstraints(False, None), True)
AUTHORITY = (ca(), SIGNS_CERTIFICATES)


@dataclass(frozen=True)
class Spec:
    """A certificate to be made. signer: the key that signs in place of the issuer's."""

    subject: x509.Name
    key: Any
    extensions: Sequence[Extension] = AUTHORITY
    start: datetime = START
    end: datetime = END
    issuer: x509.Name | None = None
    signer: Any = None
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    pss: padding.PSS | None = None


ROOT = Spec(common_name("Root"), ec_key("root"))
INTERMEDIATE = Spec(common_name("Intermediate"), ec_key("intermediate"))
LEAF = Spec(common_name("Leaf"), ec_key("leaf"), extensions=(NO_CA,))


def chain(*specs: Spec) -> list[bytes]:
    """DER, leaf first; the last one signs itself."""
    above = (*specs[1:], specs[-1])
    return [certificate(*pair) for pair in zip(specs, above, strict=True)]


def certificate(spec: Spec, above: Spec) -> bytes:
    """One certificate, signed by the one above."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(spec.subject)
        .issuer_name(above.subject if spec.issuer is None else spec.issuer)
        .public_key(spec.key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(repr(spec).encode()).digest()[:8]) | 1)
        .not_valid_before(spec.start)
        .not_valid_after(spec.end)
    )
    for extension, critical in spec.extensions:
        builder = builder.add_extension(extension, critical)
    made = builder.sign(
        above.key if spec.signer is None else spec.signer, spec.digest, rsa_padding=spec.pss
    )
    return made.public_bytes(serialization.Encoding.DER)


def fingerprint(der: bytes, digest: str = "sha256") -> str:
    """As did:x509 writes it."""
    return base64.urlsafe_b64encode(hashlib.new(digest, der).digest()).rstrip(b"=").decode()


def did(der: bytes, predicates: str, digest: str = "sha256") -> str:
    """The did:x509 with this CA and these predicates."""
    return f"did:x509:0:{digest}:{fingerprint(der, digest)}::{predicates}"
