"""A trust file that fits a good simulated machine, and servers with exactly one thing wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealserve.attestation import ChallengeClaims, Evidence, TlsClaims, encode
from sealserve.attestation.asn1 import octets
from sealserve.attestation.ratls import EVIDENCE_OID, SERVER_NAME
from sealserve.attestation.simulated import MEASUREMENT, Machine, SimulatedRoot
from sealserve.inference.server.challenge import Answer
from sealserve.inference.server.handed import Certificates
from sealserve.policy import Trust
from support import policy_case as case
from support.client_server import CONFIG, LiveServer

ROOT = case.ROOT
OTHER = bytes([0xEE] * 32)
POLICY = case.POLICY
Change = tuple[str, str]


def machine(root: SimulatedRoot, *faults: str) -> Machine:
    """A machine the trust file below accepts, but for these faults."""
    return Machine(root, POLICY, faults=faults)


def trust(root: SimulatedRoot, *changes: Change) -> Trust:
    """A trust file that accepts `machine(root)` only, with each (old, new) replaced."""
    return case.trust(*_fitting(root), *changes)


def trust_bytes(root: SimulatedRoot, *changes: Change) -> bytes:
    """The same file as bytes."""
    return case.edit(*_fitting(root), *changes)


def chip(root: SimulatedRoot) -> str:
    """The chip of every good machine under this root."""
    return hashlib.sha512(b"simulated chip of " + root.ark_sha256).hexdigest()


def _fitting(root: SimulatedRoot) -> tuple[Change, ...]:
    return (
        (case.SNP, case.SIMULATED),
        (case.SIMULATED_ROOT.hex(), root.ark_sha256.hex()),
        (case.MEASUREMENT.hex(), MEASUREMENT.hex()),
        ("expires = 2027-03-31", "expires = 2199-03-31"),
        ("max_crl_age_days = 45", f'max_crl_age_days = 45\nchips = ["{chip(root)}"]'),
    )


# ---- certificates

Builder = x509.CertificateBuilder


@dataclass
class Parts:
    """What a certificate is made of; the defaults are the profile."""

    key: Any
    evidence: bytes
    signer: Any = None
    subject: str = SERVER_NAME
    issuer: str = SERVER_NAME
    hash: Any = None
    start: timedelta = timedelta(minutes=-5)
    lifetime: timedelta = timedelta(days=31)
    extensions: list[tuple[x509.ExtensionType, bool]] | None = None

    def build(self, now: datetime) -> bytes:
        """The certificate, DER."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(self.subject))
            .issuer_name(_name(self.issuer))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.start)
            .not_valid_after(now + self.start + self.lifetime)
        )
        for value, critical in self.extensions or profile(self.evidence):
            builder = builder.add_extension(value, critical)
        algorithm = hashes.SHA256() if self.hash is None else self.hash
        return builder.sign(self.signer or self.key, algorithm).public_bytes(
            serialization.Encoding.DER
        )


def profile(carried: bytes, /, **replaced: Any) -> list[tuple[x509.ExtensionType, bool]]:
    """The five extensions, each replaceable by name: (value, critical), or None to leave it out."""
    chosen: dict[str, Any] = {
        "constraints": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (key_usage(), True),
        "purposes": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        "names": (x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), False),
        "evidence": (x509.UnrecognizedExtension(EVIDENCE_OID, octets(carried)), False),
    }
    return [extension for extension in {**chosen, **replaced}.values() if extension is not None]


def key_usage(**also: bool) -> x509.KeyUsage:
    """digitalSignature, and what is named."""
    bits = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(digital_signature=True, **{bit: also.get(bit, False) for bit in bits})


def spki_of(key: Any) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo."""
    encoded: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(encoded).digest()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key as the profile wants it."""
    return ec.generate_private_key(ec.SECP256R1())


def tls_evidence(source: Machine, key: Any) -> bytes:
    """Evidence for this TLS key, encoded."""
    return encode(source.evidence(TlsClaims(spki_of(key)).encode()))


@dataclass
class FixedIdentity:
    """A key with certificates somebody else made; chain: PEM that follows the certificate."""

    key: Any
    certificates: Certificates
    chain: bytes = b""

    @property
    def spki_sha256(self) -> bytes:
        return spki_of(self.key)

    @property
    def key_pem(self) -> bytes:
        pem: bytes = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem

    @property
    def certificate_pem(self) -> bytes:
        return as_pem(self.certificates.current) + self.chain


def as_pem(der: bytes) -> bytes:
    """A certificate as gRPC wants it."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def identity(
    source: Machine, change: Callable[[Parts], None] = lambda parts: None, key: Any = None
) -> FixedIdentity:
    """A good key of this machine whose current certificate was changed; its next one is good."""
    chosen = key or new_key()
    good = Parts(chosen, tls_evidence(source, chosen))
    following = good.build(_now())
    change(good)
    return FixedIdentity(chosen, Certificates(good.build(_now()), following))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _now() -> datetime:
    return datetime.now(UTC)


# ---- answers to a challenge


def answers(
    source: Machine,
    owner: Any,
    *,
    nonces: Iterable[bytes] | None = None,
    next_certificate: bytes | None = None,
    evidence: Callable[[bytes], bytes] | None = None,
    **claims: Any,
) -> Callable[[frozenset[bytes]], Answer]:
    """A way to answer challenges that is right for `owner`, an identity, but for what is given.

    evidence: makes the evidence out of the encoded claims.
    """

    def answer(asked: frozenset[bytes]) -> Answer:
        following = owner.certificates.next if next_certificate is None else next_certificate
        good: dict[str, Any] = {
            "config": CONFIG,
            "next": hashlib.sha256(following).digest(),
            "nonces": tuple(sorted(asked if nonces is None else nonces)),
            "roots": (ROOT,),
            "spki": owner.spki_sha256,
        }
        text = ChallengeClaims(**{**good, **claims}).encode()
        made = evidence(text) if evidence else encode(source.evidence(text))
        return Answer(made, following)

    return answer


def live(source: Machine, **options: Any) -> LiveServer:
    """A server of this machine for the model of the trust file."""
    return LiveServer(source, ROOT, **options)


def encoded(evidence: Evidence) -> bytes:
    """Evidence as it travels."""
    return encode(evidence)
