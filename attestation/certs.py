"""AMD's certificates: ARK, ASK and ASVK (CAs, RSA-4096), VCEK and VLEK (leaves, P-384).

Parsing reads the form and knows no trust. Every signature among them is RSASSA-PSS with SHA-384,
MGF1 with SHA-384 and a salt of 48 bytes; a certificate that says anything else is refused, so that
no choice of algorithm is ever left to whoever sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from sealserve.attestation import der
from sealserve.native.errors import EvidenceError

MAX_CERTIFICATE_BYTES: Final = 8 * 1024  # the largest we hold has 1654

_SHA384: Final = hashes.SHA384()
_PSS_SHA384: Final = padding.PSS(mgf=padding.MGF1(_SHA384), salt_length=48)
_RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
_SHA384_NULL: Final = bytes.fromhex("300d06096086480165030402020500")
_MGF1_SHA384: Final = bytes.fromhex("301a06092a864886f70d010108") + _SHA384_NULL
_SALT_48: Final = bytes.fromhex("020130")
_TRAILER_1: Final = bytes.fromhex("020101")

_COMMON_NAME: Final = "2.5.4.3"
_ORGANIZATION: Final = "2.5.4.10"
_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_KEY_USAGE: Final = "2.5.29.15"
_KEY_CERT_SIGN: Final = 0x04  # bit 5 of KeyUsage, in its first byte

_AMD: Final = "1.3.6.1.4.1.3704.1."  # AMD 57230 rev 1.x, VCEK certificate extensions
_STRUCT_VERSION: Final = _AMD + "1"
_PRODUCT_NAME: Final = _AMD + "2"
_HARDWARE_ID: Final = _AMD + "4"
_CSP_ID: Final = _AMD + "5"
_SPL: Final[Mapping[str, str]] = {
    _AMD + "3.1": "bootloader",
    _AMD + "3.2": "tee",
    _AMD + "3.3": "snp",
    _AMD + "3.4": "spl4",
    _AMD + "3.5": "spl5",
    _AMD + "3.6": "spl6",
    _AMD + "3.7": "spl7",
    _AMD + "3.8": "microcode",
    _AMD + "3.9": "fmc",
}


@dataclass(frozen=True, slots=True)
class Name:
    """A distinguished name: its exact bytes, and the two attributes that mean something here."""

    der: bytes
    common_name: str
    organization: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as far as a chain of AMD's needs it.

    signed: TBSCertificate as it was signed. spki: SubjectPublicKeyInfo, DER. extensions: content of
    extnValue by OID; an unknown critical one was refused. is_ca: BasicConstraints says CA, and
    KeyUsage allows signing certificates.
    """

    der: bytes
    serial: int
    issuer: Name
    subject: Name
    not_before: datetime
    not_after: datetime
    spki: bytes
    extensions: Mapping[str, bytes]
    is_ca: bool
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> Certificate:
        """Read a version 3 certificate signed with PSS as AMD does it.

        Raises EvidenceError: certificate_size, certificate_unparseable, signature_parameters.
        """
        _require_size(data)
        return _certificate(data)


# A client meets the same few certificates again and again, three times for each connection. What is
# remembered is how bytes read, and which were signed by which key; never a verdict.
_REMEMBERED: Final = 64


@lru_cache(maxsize=_REMEMBERED)
def _certificate(data: bytes) -> Certificate:
    outer = der.document(data)
    signed = outer.whole(der.SEQUENCE)
    algorithm = outer.whole(der.SEQUENCE)
    signature = outer.bits()
    outer.end()
    tbs = der.document(signed)
    _require_version_3(tbs)
    serial = tbs.integer()
    require_pss_sha384(algorithm, again=tbs.whole(der.SEQUENCE))
    issuer = read_name(tbs)
    validity = tbs.sequence()
    not_before, not_after = validity.time(), validity.time()
    validity.end()
    subject = read_name(tbs)
    spki = tbs.whole(der.SEQUENCE)
    extensions = _extensions(tbs)
    tbs.end()
    return Certificate(
        data,
        serial,
        issuer,
        subject,
        not_before,
        not_after,
        spki,
        MappingProxyType(extensions),
        _ca_flag(extensions) and _may_sign_certificates(extensions),
        signed,
        signature,
    )


@dataclass(frozen=True, slots=True)
class Leaf:
    """A VCEK or VLEK with AMD's extensions read.

    levels: security versions by component name, as they stand (spl4 to spl7 are reserved).
    hardware_id: 64 or 8 bytes, VCEK only. csp_id: VLEK only.
    """

    certificate: Certificate
    kind: Literal["vcek", "vlek"]
    key: ec.EllipticCurvePublicKey
    struct_version: int
    product_name: str
    levels: Mapping[str, int]
    hardware_id: bytes | None
    csp_id: str | None

    @classmethod
    def parse(cls, data: bytes) -> Leaf:
        """Read a leaf. Raises EvidenceError: as `Certificate.parse` and `Leaf.of`."""
        return cls.of(Certificate.parse(data))

    @classmethod
    def of(cls, certificate: Certificate) -> Leaf:
        """What this certificate says of itself.

        Raises EvidenceError: leaf_kind, leaf_key, leaf_extension, hwid, certificate_unparseable.
        """
        return _leaf(certificate.der)


@lru_cache(maxsize=_REMEMBERED)
def _leaf(data: bytes) -> Leaf:
    certificate = _certificate(data)
    extensions = certificate.extensions
    kind = leaf_kind(certificate)
    return Leaf(
        certificate=certificate,
        kind=kind,
        key=leaf_key(certificate),
        struct_version=der.whole_integer(_required(extensions, _STRUCT_VERSION)),
        product_name=der.whole_ia5(_required(extensions, _PRODUCT_NAME)),
        levels=MappingProxyType(_levels(extensions)),
        hardware_id=_hardware_id(extensions) if kind == "vcek" else None,
        csp_id=der.whole_ia5(_required(extensions, _CSP_ID)) if kind == "vlek" else None,
    )


def read_name(reader: der.Reader) -> Name:
    """The next element, a Name of single-valued parts; a repeated attribute is refused."""
    return _name(reader.whole(der.SEQUENCE))


@lru_cache(maxsize=_REMEMBERED)
def _name(whole: bytes) -> Name:
    attributes: dict[str, str] = {}
    for part in der.document(whole).rest(der.SET):
        single = der.Reader(part)
        pair = single.sequence()
        single.end()
        oid = pair.oid()
        tag = der.PRINTABLE_STRING if pair.peek() == der.PRINTABLE_STRING else der.UTF8_STRING
        if oid in attributes:
            raise der.refused(f"a name that holds {oid} twice")
        attributes[oid] = der.printable(pair.element(tag))
        pair.end()
    return Name(whole, attributes.get(_COMMON_NAME, ""), attributes.get(_ORGANIZATION, ""))


def require_pss_sha384(algorithm: bytes, *, again: bytes) -> None:
    """AlgorithmIdentifier must be RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt 48, trailer 1.

    algorithm: the element outside the signed part; `again`: its twin inside, the same bytes.
    AMD wrote the default trailer out until August 2024 and leaves it out since: both are read.
    """
    if algorithm != again:
        raise _parameters("two different ones, inside and outside the signed part")
    reader = der.document(algorithm)
    if reader.oid() != _RSASSA_PSS:
        raise _parameters("another algorithm")
    parameters = reader.sequence()
    reader.end()
    fields = [parameters.element(tag) for tag in (0xA0, 0xA1, 0xA2)]
    if fields != [_SHA384_NULL, _MGF1_SHA384, _SALT_48]:
        raise _parameters("PSS with other parameters")
    if parameters.peek() is not None and parameters.element(0xA3) != _TRAILER_1:
        raise _parameters("PSS with another trailer")
    parameters.end()


def require_signature(issuer_spki: bytes, signature: bytes, signed: bytes, code: str) -> None:
    """`signed` must carry a PSS signature by this RSA key. EvidenceError with this code if not."""
    try:
        _verify(issuer_spki, signature, signed)
    except UnsupportedAlgorithm as error:
        raise EvidenceError(
            code, "key of the issuer", seen="another key", wanted="an RSA key of 4096 bits"
        ) from error
    except InvalidSignature as error:
        raise EvidenceError(
            code,
            "the signature is not by the key of the issuer",
            seen="a signature by another key, or over other bytes",
            wanted="one by the key of the issuer",
        ) from error


# That a key signed these bytes is arithmetic and stays so; what fails is not remembered. Whether
# the key is trusted, in time and not revoked is asked each time.
@lru_cache(maxsize=_REMEMBERED)
def _verify(spki: bytes, signature: bytes, signed: bytes) -> None:
    key = _public_key(spki)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != 4096:
        raise UnsupportedAlgorithm("not RSA with 4096 bits")
    key.verify(signature, signed, _PSS_SHA384, _SHA384)


def _require_size(data: bytes) -> None:
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise EvidenceError(
            "certificate_size",
            "a certificate is too long",
            seen=f"{len(data)} bytes",
            wanted=f"at most {MAX_CERTIFICATE_BYTES}",
        )


def _require_version_3(tbs: der.Reader) -> None:
    if der.whole_integer(tbs.element(0xA0)) != 2:
        raise der.refused("a certificate that is not of version 3")


def _extensions(tbs: der.Reader) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for content in der.document(tbs.element(0xA3)).rest(der.SEQUENCE):
        extension = der.Reader(content)
        oid = extension.oid()
        critical = extension.peek() == der.BOOLEAN and extension.boolean()
        value = extension.element(der.OCTET_STRING)
        extension.end()
        if oid in found:
            raise der.refused(f"extension {oid} twice")
        if critical and oid not in (_BASIC_CONSTRAINTS, _KEY_USAGE):
            raise der.refused(f"an unknown critical extension {oid}")
        found[oid] = value
    return found


def _ca_flag(extensions: Mapping[str, bytes]) -> bool:
    if _BASIC_CONSTRAINTS not in extensions:
        return False
    constraints = der.document(extensions[_BASIC_CONSTRAINTS])
    return constraints.peek() == der.BOOLEAN and constraints.boolean()


def _may_sign_certificates(extensions: Mapping[str, bytes]) -> bool:
    if _KEY_USAGE not in extensions:
        return False
    reader = der.Reader(extensions[_KEY_USAGE])
    usage = reader.element(der.BIT_STRING)
    reader.end()
    return len(usage) >= 2 and bool(usage[1] & _KEY_CERT_SIGN)


def leaf_kind(certificate: Certificate) -> Literal["vcek", "vlek"]:
    """Which leaf it says it is. Raises EvidenceError (leaf_kind)."""
    match certificate.subject.common_name:
        case "SEV-VCEK":
            return "vcek"
        case "SEV-VLEK":
            return "vlek"
        case other:
            raise EvidenceError(
                "leaf_kind",
                "common name of the leaf",
                seen=other or "none",
                wanted="SEV-VCEK or SEV-VLEK",
            )


def _levels(extensions: Mapping[str, bytes]) -> dict[str, int]:
    levels = {
        name: der.whole_integer(extensions[oid]) for oid, name in _SPL.items() if oid in extensions
    }
    for name, level in levels.items():
        if level > 0xFF:
            raise EvidenceError("leaf_extension", f"{name} level", seen=str(level), wanted="0..255")
    return levels


def _hardware_id(extensions: Mapping[str, bytes]) -> bytes:
    """hwID stands raw; one issue of AMD's wrapped it. Length decides: a raw id may begin so too."""
    content = extensions.get(_HARDWARE_ID, b"")
    if len(content) in (66, 10) and content[:2] == bytes([der.OCTET_STRING, len(content) - 2]):
        content = content[2:]
    if len(content) not in (64, 8):
        raise EvidenceError(
            "hwid",
            "hwID of the VCEK",
            seen=f"{len(content)} bytes" if _HARDWARE_ID in extensions else "none",
            wanted="64 or 8 bytes, a chip's",
        )
    return content


def _required(extensions: Mapping[str, bytes], oid: str) -> bytes:
    if oid not in extensions:
        raise EvidenceError("leaf_extension", "extension of the leaf", seen="none", wanted=oid)
    return extensions[oid]


def leaf_key(certificate: Certificate) -> ec.EllipticCurvePublicKey:
    """The key on P-384 that signs reports. EvidenceError: leaf_key, certificate_unparseable."""
    return _leaf_key(certificate.spki)


@lru_cache(maxsize=_REMEMBERED)
def _leaf_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    key = _public_key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise EvidenceError(
            "leaf_key", "key of the leaf", seen="another key", wanted="a key on the curve P-384"
        )
    return key


@lru_cache(maxsize=_REMEMBERED)
def _public_key(spki: bytes) -> object:
    try:
        return serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise der.refused("a public key that cannot be read") from error


def _parameters(seen: str) -> EvidenceError:
    return EvidenceError(
        "signature_parameters",
        "signature algorithm of a certificate",
        seen=seen,
        wanted="RSASSA-PSS, SHA-384, MGF1 SHA-384, salt 48",
    )
