"""The members of a private RSA key as JSON Web Keys have them (RFC 7518 section 6.3)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa


def private_rsa(key: rsa.RSAPrivateKey) -> dict[str, bytes]:
    """All eight, each a number in as few bytes as it takes, big endian."""
    numbers = key.private_numbers()
    members = {
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "qi": numbers.iqmp,
    }
    return {
        name: value.to_bytes((value.bit_length() + 7) // 8, "big")
        for name, value in members.items()
    }
