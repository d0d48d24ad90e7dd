"""How secrets could stand where nobody may find them."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric import rsa


def spellings(secret: bytes) -> set[bytes]:
    """How a secret could stand in a text."""
    number = int.from_bytes(secret, "big")
    encoded = (base64.b64encode(secret), base64.urlsafe_b64encode(secret))
    texts = {secret.hex(), secret.hex().upper(), str(number)}
    return {secret, *(each.rstrip(b"=") for each in encoded), *(text.encode() for text in texts)}


def private_numbers(key: object) -> dict[str, bytes]:
    """What must stay secret of a private key; any of it gives the rest away."""
    if not isinstance(key, rsa.RSAPrivateKey):
        return {"d": _number(key.private_numbers().private_value)}  # type: ignore[attr-defined]
    numbers = key.private_numbers()
    return {name: _number(getattr(numbers, name)) for name in ("d", "p", "q", "dmp1", "iqmp")}


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
