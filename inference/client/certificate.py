"""What a client shows to servers that ask for a certificate (`serve --callers` with an authority).

The certificate is no secret: it goes to whoever is asked, encrypted by TLS 1.3. Its key stays in
this process, signs handshakes, and is in no message, log or repr.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from sealserve.attestation.pem import MAX_PEM_BYTES
from sealserve.inference.client.clock import now
from sealserve.native.errors import ConfigError

# What gRPC's TLS signs a handshake with; of curves, those of RFC 8446, section 4.2.3.
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_PEM: Final = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client's certificate and its key; made by `load` or `parse`.

    chain: the certificate, then those above it, in PEM. key: its private key, in PEM. since, until:
    when it is valid. file: where it came from, for messages.
    """

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    since: datetime
    until: datetime
    file: str = ""

    @classmethod
    def load(
        cls, certificate_file: str | os.PathLike[str], key_file: str | os.PathLike[str]
    ) -> Certificate:
        """Read both files; they may be one. Raises ConfigError with file and hint, as `parse`."""
        chain, key = os.fspath(certificate_file), os.fspath(key_file)
        return cls.parse(_read(chain), _read(key), file=chain, key_file=key)

    @classmethod
    def parse(cls, chain: bytes, key: bytes, *, file: str = "", key_file: str = "") -> Certificate:
        """Read what stands in such files; their names are for messages.

        chain: the client's own certificate first. Raises ConfigError for what is not PEM, an
        encrypted key, a key of another certificate, and one that has expired.
        """
        own, *above = _certificates(chain, file)
        loaded = _private_key(key, key_file)
        if _public(own, file) != _spki(loaded.public_key()):
            raise ConfigError(
                f"the key does not fit the certificate{f' in {file}' if file else ''}",
                file=key_file,
                hint="a client's own certificate comes first in its file, before those above it",
            )
        if own.not_valid_after_utc < now():
            raise ConfigError(
                f"the client's certificate expired at {own.not_valid_after_utc.isoformat()}",
                file=file,
                hint="its authority issues another one; or is this machine's clock wrong?",
            )
        return cls(
            chain=b"".join(each.public_bytes(_PEM) for each in (own, *above)),
            key=loaded.private_bytes(
                _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            since=own.not_valid_before_utc,
            until=own.not_valid_after_utc,
            file=file,
        )


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", file=file, hint="is it there, and readable?"
        ) from error
    if len(data) > MAX_PEM_BYTES:
        raise ConfigError(
            f"is longer than {MAX_PEM_BYTES} bytes", file=file, hint="is it the right file?"
        )
    return data


def _certificates(data: bytes, file: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigError(
            "holds no certificate in PEM", file=file, hint="-----BEGIN CERTIFICATE----- begins one"
        ) from error


def _private_key(data: bytes, file: str) -> _Key:
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError:  # the library's word for a key that needs a password
        raise ConfigError(
            "the key is encrypted",
            file=file,
            hint=f"openssl pkey -in {file or 'FILE'} -out NEW, in a place that is yours alone",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(file) from None
    other_curve = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in _CURVES
    if other_curve or not isinstance(key, _Key):
        raise _no_key(file)
    return key


def _no_key(file: str) -> ConfigError:
    return ConfigError(
        "holds no private key in PEM that signs handshakes",
        file=file,
        hint="RSA, P-256, P-384, P-521 or Ed25519; -----BEGIN PRIVATE KEY----- begins one",
    )


def _public(certificate: x509.Certificate, file: str) -> bytes:
    try:
        return _spki(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            "the certificate has a key of an unknown kind", file=file, hint="is it a client's?"
        ) from error


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
