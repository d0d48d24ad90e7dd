"""Issues the simulated platform's certificates and lists, in the exact form of AMD's.

Order of attributes and extensions, string types, criticality and signature parameters are those of
the certificates AMD serves (tests/attestation/test_simulated_form.py compares them element by
element). What differs is the organization in every subject, which says simulated, and the address
of the revocation list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from sealserve.attestation import asn1
from sealserve.attestation.report import SigningKey
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.tcb import Line

Extension = bytes
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

LEAF_NAME: Final[Mapping[SigningKey, str]] = {"vcek": "SEV-VCEK", "vlek": "SEV-VLEK"}
# As AMD numbers its own; the second ASK of Genoa replaced one that was revoked.
ARK_SERIAL: Final[Mapping[Line, int]] = {"milan": 0x10000, "genoa": 0x20000, "turin": 0x30000}
ASK_SERIAL: Final[Mapping[Line, int]] = {"milan": 0x10001, "genoa": 0x20002, "turin": 0x30001}
ASVK_SERIAL: Final[Mapping[Line, int]] = {"milan": 0x10101, "genoa": 0x20101, "turin": 0x30101}

_AMD: Final = "1.3.6.1.4.1.3704.1."
_SPL: Final = {
    "bootloader": "3.1",
    "tee": "3.2",
    "snp": "3.3",
    "spl4": "3.4",
    "spl5": "3.5",
    "spl6": "3.6",
    "spl7": "3.7",
    "microcode": "3.8",
    "fmc": "3.9",
}


class Signing(Protocol):
    """How an issuer signs: the AlgorithmIdentifier, and the signature."""

    def identifier(self) -> bytes:
        """The AlgorithmIdentifier of this scheme."""

    def sign(self, key: rsa.RSAPrivateKey, data: bytes) -> bytes:
        """A signature by this key."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """RSASSA-PSS with one hash, for MGF1 too. trailer: whether the default is written out."""

    algorithm: hashes.HashAlgorithm
    oid: str
    salt_bytes: int
    trailer: bool = False

    def identifier(self) -> bytes:
        """The AlgorithmIdentifier of this scheme."""
        algorithm = asn1.sequence(asn1.oid(self.oid), asn1.element(0x05))
        mask = asn1.sequence(asn1.oid("1.2.840.113549.1.1.8"), algorithm)
        parameters = asn1.sequence(
            asn1.element(0xA0, algorithm),
            asn1.element(0xA1, mask),
            asn1.element(0xA2, asn1.integer(self.salt_bytes)),
            asn1.element(0xA3, asn1.integer(1)) if self.trailer else b"",
        )
        return asn1.sequence(asn1.oid("1.2.840.113549.1.1.10"), parameters)

    def sign(self, key: rsa.RSAPrivateKey, data: bytes) -> bytes:
        """A PSS signature by this key."""
        scheme = padding.PSS(mgf=padding.MGF1(self.algorithm), salt_length=self.salt_bytes)
        return key.sign(data, scheme, self.algorithm)


SHA384: Final = Scheme(hashes.SHA384(), "2.16.840.1.101.3.4.2.2", 48)
SHA384_TRAILER: Final = Scheme(hashes.SHA384(), "2.16.840.1.101.3.4.2.2", 48, trailer=True)
SHA256: Final = Scheme(hashes.SHA256(), "2.16.840.1.101.3.4.2.1", 32)


def ark_name(line: Line) -> str:
    """Common name of the ARK of this line."""
    return f"ARK-{line.capitalize()}"


def intermediate_name(line: Line, kind: SigningKey) -> str:
    """Common name of the CA that issues leaves of this kind: ASK or ASVK."""
    return f"SEV-{'VLEK-' if kind == 'vlek' else ''}{line.capitalize()}"


def intermediate_serial(line: Line, kind: SigningKey) -> int:
    """Serial number of that CA."""
    return (ASK_SERIAL if kind == "vcek" else ASVK_SERIAL)[line]


def name(common_name: str, organization: str = SIMULATED_ORGANIZATION) -> bytes:
    """A distinguished name with AMD's attributes in AMD's order."""
    parts = (
        ("2.5.4.11", asn1.utf8("Engineering")),
        ("2.5.4.6", asn1.printable("US")),
        ("2.5.4.7", asn1.utf8("Santa Clara")),
        ("2.5.4.8", asn1.utf8("CA")),
        ("2.5.4.10", asn1.utf8(organization)),
        ("2.5.4.3", asn1.utf8(common_name)),
    )
    return asn1.sequence(
        *(asn1.element(0x31, asn1.sequence(asn1.oid(oid), value)) for oid, value in parts)
    )


def certificate(
    *,
    serial: int,
    issuer: bytes,
    subject: bytes,
    window: tuple[datetime, datetime],
    key: PublicKey,
    extensions: list[Extension],
    signer: rsa.RSAPrivateKey,
    scheme: Signing = SHA384,
) -> bytes:
    """A version 3 certificate, DER."""
    signed = asn1.sequence(
        asn1.element(0xA0, asn1.integer(2)),
        asn1.integer(serial),
        scheme.identifier(),
        issuer,
        asn1.sequence(asn1.time(window[0]), asn1.time(window[1])),
        subject,
        spki(key),
        asn1.element(0xA3, asn1.sequence(*extensions)),
    )
    return asn1.sequence(signed, scheme.identifier(), asn1.bits(scheme.sign(signer, signed)))


def crl(
    *,
    issuer: bytes,
    window: tuple[datetime, datetime],
    revoked: Mapping[int, datetime],
    signer_id: bytes,
    signer: rsa.RSAPrivateKey,
) -> bytes:
    """A version 2 revocation list, DER. signer_id: the ARK's subjectKeyIdentifier."""
    entries = [asn1.sequence(asn1.integer(serial), asn1.time(at)) for serial, at in revoked.items()]
    signed = asn1.sequence(
        asn1.integer(1),
        SHA384.identifier(),
        issuer,
        asn1.time(window[0]),
        asn1.time(window[1]),
        *([asn1.sequence(*entries)] if entries else []),
        asn1.element(
            0xA0,
            asn1.sequence(authority_key(signer_id), extension("2.5.29.20", asn1.integer(1))),
        ),
    )
    return asn1.sequence(signed, SHA384.identifier(), asn1.bits(SHA384.sign(signer, signed)))


def ark_extensions(key: PublicKey, line: Line = "milan") -> list[Extension]:
    """KeyUsage (certificates, lists), key identifier, CA, revocation list."""
    return [
        key_usage(0x06),
        subject_key(key),
        ca(None),
        _crl_address(line, "vcek"),
    ]


def intermediate_extensions(
    key: PublicKey,
    ark_key_id: bytes,
    line: Line = "milan",
    kind: SigningKey = "vcek",
    *,
    is_ca: bool = True,
) -> list[Extension]:
    """Key identifiers, CA of path length 0, KeyUsage (certificates), revocation list."""
    return [
        subject_key(key),
        authority_key(ark_key_id),
        ca(0) if is_ca else no_ca(),
        key_usage(0x04),
        _crl_address(line, kind),
    ]


def leaf_extensions(
    levels: Mapping[str, int],
    *,
    struct_version: int,
    product_name: str,
    hardware_id: bytes = b"",
    csp_id: str = "",
) -> list[Extension]:
    """AMD's extensions in AMD's order; what is empty is left out.

    hardware_id: in a VCEK, the chip. csp_id: in a VLEK, the provider.
    """
    chip = [extension(_AMD + "4", hardware_id)] if hardware_id else []  # raw, no wrapper
    provider = [extension(_AMD + "5", asn1.ia5(csp_id))] if csp_id else []
    return [
        extension(_AMD + "1", asn1.integer(struct_version)),
        extension(_AMD + "2", asn1.ia5(product_name)),
        *(extension(_AMD + _SPL[name], asn1.integer(level)) for name, level in levels.items()),
        *chip,
        *provider,
    ]


def spki(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_id(key: PublicKey) -> bytes:
    """subjectKeyIdentifier by RFC 5280, 4.2.1.2, method 1."""
    raw = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    return hashlib.sha1(raw, usedforsecurity=False).digest()


def extension(oid: str, value: bytes, *, critical: bool = False) -> Extension:
    """One extension; extnValue holds this value."""
    flag = asn1.element(0x01, b"\xff") if critical else b""
    return asn1.sequence(asn1.oid(oid), flag, asn1.octets(value))


def subject_key(key: PublicKey) -> Extension:
    """subjectKeyIdentifier of this key."""
    return extension("2.5.29.14", asn1.octets(key_id(key)))


def authority_key(identifier: bytes) -> Extension:
    """authorityKeyIdentifier, by the issuer's subjectKeyIdentifier."""
    return extension("2.5.29.35", asn1.sequence(asn1.element(0x80, identifier)))


def ca(path_length: int | None) -> Extension:
    """BasicConstraints of a CA, critical."""
    limit = b"" if path_length is None else asn1.integer(path_length)
    constraints = asn1.sequence(asn1.element(0x01, b"\xff"), limit)
    return extension("2.5.29.19", constraints, critical=True)


def no_ca() -> Extension:
    """BasicConstraints of anybody else, critical."""
    return extension("2.5.29.19", asn1.sequence(), critical=True)


def key_usage(value: int, unused: int = 1) -> Extension:
    """KeyUsage, critical.

    One unused bit also for 0x04, where DER would want two: that is how AMD's ASK has it.
    """
    return extension("2.5.29.15", asn1.bits(bytes([value]), unused), critical=True)


def crl_address(address: str) -> Extension:
    """cRLDistributionPoints: one URI."""
    uri = asn1.element(0x86, address.encode("ascii"))
    point = asn1.sequence(asn1.element(0xA0, asn1.element(0xA0, uri)))
    return extension("2.5.29.31", asn1.sequence(point))


def _crl_address(line: Line, kind: SigningKey) -> Extension:
    return crl_address(f"https://simulated.invalid/{kind}/v1/{line.capitalize()}/crl")
