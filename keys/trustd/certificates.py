"""The service's own certificate authority: what it is called, and the leaves under it."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealserve.keys.keyid import host_and_port

# A CA outlives every policy that pins its digest; a leaf is renewed daily while the service runs.
CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=30)
_CLOCKS_DIFFER = timedelta(hours=1)
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def new_ca(title: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """A self-signed authority that signs leaves and nothing between."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    builder = _builder(name, name, key.public_key(), now, CA_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    return builder.sign(key, hashes.SHA256())


def issue(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    address: str,
    key: PublicKey,
    now: datetime,
) -> x509.Certificate:
    """A leaf for the service's name. address: as `keyid.vault_host` spells it."""
    host, _ = host_and_port(address)
    # the subject stays empty: a common name holds 64 characters, a host up to 253
    builder = _builder(x509.Name([]), ca.subject, key, now, LEAF_LIFETIME)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(sign_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        # RFC 5280 section 4.2.1.6: critical where the subject is empty
        (x509.SubjectAlternativeName([_general_name(host)]), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(ca_key, hashes.SHA256())


def self_signed(title: str, key: rsa.RSAPrivateKey, now: datetime) -> x509.Certificate:
    """A certificate that only carries a key: the form in which token keys are published."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    return _builder(name, name, key.public_key(), now, CA_LIFETIME).sign(key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
