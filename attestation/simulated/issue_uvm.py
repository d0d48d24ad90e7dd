"""Issues the certificates over a simulated endorsement, in the exact form of Microsoft's.

Three stand in every endorsement of a confidential container's utility VM: the signer's leaf, its
CA and the root. Attributes, extensions, their order and criticality are those of the certificates
in tests/vectors/evidence; subjects say simulated, addresses lead nowhere.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealserve.attestation import asn1
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.simulated import issue
from sealserve.attestation.simulated.issue import Extension

Window = tuple[datetime, datetime]

# Extended key usages of Microsoft's ContainerPlat signer; the second one means utility VMs.
PLATFORM_EKU: Final = "1.3.6.1.4.1.311.76.59.1.1"
UVM_EKU: Final = "1.3.6.1.4.1.311.76.59.1.2"
FRAGMENT_EKU: Final = "1.3.6.1.4.1.311.76.59.1.3"  # signs fragments of execution policies

ROOT_NAME: Final = "Simulated Supply Chain RSA Root CA 2026"
CA_NAME: Final = "Simulated SCD Products RSA CA"
SIGNER_NAME: Final = "ContainerPlat"

_ATTRIBUTES: Final = {
    "C": "2.5.4.6",
    "ST": "2.5.4.8",
    "L": "2.5.4.7",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "CN": "2.5.4.3",
    "serialNumber": "2.5.4.5",
}
_KEY_CERT_SIGN_AND_MORE: Final = 0x86  # digitalSignature, keyCertSign, cRLSign
_ADDRESS: Final = "http://www.simulated.invalid/pkiops"


@dataclass(frozen=True, slots=True)
class Pkcs1:
    """RSASSA-PKCS1-v1_5 with SHA-384, as Microsoft's CAs sign certificates."""

    def identifier(self) -> bytes:
        """The AlgorithmIdentifier of this scheme."""
        return asn1.sequence(asn1.oid("1.2.840.113549.1.1.12"), asn1.element(0x05))

    def sign(self, key: rsa.RSAPrivateKey, data: bytes) -> bytes:
        """A signature by this key."""
        return key.sign(data, padding.PKCS1v15(), hashes.SHA384())


def root(
    key: rsa.RSAPrivateKey,
    window: Window,
    organization: str = SIMULATED_ORGANIZATION,
) -> bytes:
    """The self-signed root, DER."""
    public = key.public_key()
    name = _authority(ROOT_NAME, organization)
    return issue.certificate(
        serial=_random_serial(16),
        issuer=name,
        subject=name,
        window=window,
        key=public,
        extensions=[
            issue.key_usage(_KEY_CERT_SIGN_AND_MORE),
            issue.ca(None),
            issue.subject_key(public),
            _CA_VERSION,
            _ANY_POLICY,
        ],
        signer=key,
        scheme=Pkcs1(),
    )


def authority(
    key: rsa.RSAPublicKey,
    root_key: rsa.RSAPrivateKey,
    window: Window,
    organization: str = SIMULATED_ORGANIZATION,
) -> bytes:
    """The CA between root and signer, DER."""
    return issue.certificate(
        serial=_random_serial(19),
        issuer=_authority(ROOT_NAME, organization),
        subject=_authority(CA_NAME, organization),
        window=window,
        key=key,
        extensions=[
            issue.key_usage(_KEY_CERT_SIGN_AND_MORE),
            _CA_VERSION,
            issue.subject_key(key),
            _ANY_POLICY,
            _SUB_CA,
            issue.ca(None),
            issue.authority_key(issue.key_id(root_key.public_key())),
            *_addresses(ROOT_NAME),
        ],
        signer=root_key,
        scheme=Pkcs1(),
    )


def signer(
    key: rsa.RSAPublicKey,
    ca_key: rsa.RSAPrivateKey,
    window: Window,
    usages: tuple[str, ...] = (PLATFORM_EKU, UVM_EKU),
    organization: str = SIMULATED_ORGANIZATION,
) -> bytes:
    """The leaf that signs endorsements, DER. usages: its extended key usages."""
    return issue.certificate(
        serial=_random_serial(19),
        issuer=_authority(CA_NAME, organization),
        subject=_name(C="US", ST="Washington", L="Redmond", O=organization, CN=SIGNER_NAME),
        window=window,
        key=key,
        extensions=[
            issue.key_usage(0x80, unused=7),  # digitalSignature
            issue.extension("2.5.29.37", asn1.sequence(*map(asn1.oid, usages))),
            issue.subject_key(key),
            _OTHER_NAME,
            issue.authority_key(issue.key_id(ca_key.public_key())),
            *_addresses(CA_NAME),
            issue.no_ca(),
        ],
        signer=ca_key,
        scheme=Pkcs1(),
    )


def _name(**attributes: str) -> bytes:
    """A distinguished name of PrintableStrings."""
    parts = (
        asn1.sequence(asn1.oid(_ATTRIBUTES[label]), asn1.printable(value))
        for label, value in attributes.items()
    )
    return asn1.sequence(*(asn1.element(0x31, part) for part in parts))


def _authority(common_name: str, organization: str) -> bytes:
    return _name(C="US", O=organization, CN=common_name)


def _addresses(issuer: str) -> list[Extension]:
    """Where the issuer's list and certificate would be."""
    file_name = issuer.replace(" ", "%20")
    uri = asn1.element(0x86, f"{_ADDRESS}/certs/{file_name}.crt".encode("ascii"))
    access = asn1.sequence(asn1.sequence(asn1.oid("1.3.6.1.5.5.7.48.2"), uri))  # caIssuers
    return [
        issue.crl_address(f"{_ADDRESS}/crl/{file_name}.crl"),
        issue.extension("1.3.6.1.5.5.7.1.1", access),
    ]


def _random_serial(size: int) -> int:
    """A positive number of exactly this many bytes."""
    return secrets.randbits(8 * size - 2) | 1 << 8 * size - 2


# Microsoft's certificate services write these two: version 0 of the CA, and its template's name.
_CA_VERSION: Final = issue.extension("1.3.6.1.4.1.311.21.1", asn1.integer(0))
_SUB_CA: Final = issue.extension(
    "1.3.6.1.4.1.311.20.2", asn1.element(0x1E, "SubCA".encode("utf-16-be"))
)
_ANY_POLICY: Final = issue.extension(
    "2.5.29.32", asn1.sequence(asn1.sequence(asn1.oid("2.5.29.32.0")))
)
_OTHER_NAME: Final = issue.extension(
    "2.5.29.17",
    asn1.sequence(
        asn1.element(0xA4, _name(OU=SIMULATED_ORGANIZATION, serialNumber="472972+504867"))
    ),
)
