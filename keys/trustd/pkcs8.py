"""Private keys as bytes: PKCS #8, the form Azure's vaults store and release."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


def encode(key: PrivateKeyTypes) -> bytes:
    """DER, unencrypted: for a record or a wrap, never for a file."""
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def decode(data: bytes) -> PrivateKeyTypes:
    """The key `encode` wrote."""
    return serialization.load_der_private_key(data, None)
