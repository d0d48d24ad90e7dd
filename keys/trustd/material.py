"""Keys as a vault holds them: made, imported, and shown as JSON Web Keys (RFC 7517).

RSA and oct, each also with the suffix -HSM that Azure's clients ask for. The suffix is repeated
in answers and means nothing more here: this service has no HSM.
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.binding import b64url
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.keys.trustd import pkcs8

RSA_TYPES = ("RSA", "RSA-HSM")
OCT_TYPES = ("oct", "oct-HSM")
RSA_BITS = (2048, 3072, 4096)
OCT_BITS = (128, 192, 256)
OPERATIONS = frozenset(
    {"decrypt", "encrypt", "export", "import", "sign", "unwrapKey", "verify", "wrapKey"}
)
MAX_OCT_BYTES = 64  # Azure's own limit: "k property of oct key is too large, maximum size is 64"
_PUBLIC_EXPONENT = 65537


def create(kind: str, body: Body) -> bytes:
    """The secret part of a new key of this type; `key_size` chooses its length in bits.

    Raises Refused, as everything here does.
    """
    if kind in RSA_TYPES:
        bits = _size(body, RSA_BITS, default=2048)
        return pkcs8.encode(rsa.generate_private_key(_PUBLIC_EXPONENT, bits))
    if kind in OCT_TYPES:
        return os.urandom(_size(body, OCT_BITS, default=256) // 8)
    raise _unknown(kind)


def read(kind: str, jwk: Body) -> bytes:
    """The secret part of a key that somebody brings."""
    if kind in RSA_TYPES:
        return pkcs8.encode(_rsa(jwk))
    if kind in OCT_TYPES:
        return _oct(jwk)
    raise _unknown(kind)


def public(kind: str, secret: bytes) -> dict[str, str]:
    """The members of the JSON Web Key that are not secret, without its type."""
    if kind in OCT_TYPES:
        return {}
    key = pkcs8.decode(secret)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.public_key().public_numbers()
    return {
        "e": b64url(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
        "n": b64url(numbers.n.to_bytes((key.key_size + 7) // 8, "big")),
    }


def operations(body: Body) -> list[str]:
    """`key_ops` as asked for."""
    wanted = body.texts("key_ops")
    for name in wanted:
        if name not in OPERATIONS:
            raise bad_parameter(
                f"key_ops: seen {name[:40]!r}; wanted {', '.join(sorted(OPERATIONS))}"
            )
    return wanted


def _size(body: Body, sizes: tuple[int, ...], *, default: int) -> int:
    bits = body.integer("key_size") if body.has("key_size") else default
    if bits not in sizes:
        raise bad_parameter(f"key_size: seen {bits}; wanted one of {sizes}")
    return bits


def _rsa(jwk: Body) -> rsa.RSAPrivateKey:
    names = ("e", "n", "d", "p", "q", "dp", "dq", "qi")
    e, n, d, p, q, dp, dq, qi = (int.from_bytes(jwk.bytes(name), "big") for name in names)
    if n.bit_length() not in RSA_BITS:
        raise bad_parameter(f"an RSA key of {n.bit_length()} bits; wanted one of {RSA_BITS}")
    numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n))
    try:
        return numbers.private_key()
    except ValueError:  # its text may quote the numbers
        raise bad_parameter("the numbers are no RSA key") from None


def _oct(jwk: Body) -> bytes:
    secret = jwk.bytes("k")
    if not 16 <= len(secret) <= MAX_OCT_BYTES:
        raise bad_parameter(f"k has {len(secret)} bytes; wanted 16 to {MAX_OCT_BYTES}")
    return secret


def _unknown(kind: str) -> Refused:
    return bad_parameter(
        f"kty: seen {kind[:40]!r}; this service has {', '.join(RSA_TYPES + OCT_TYPES)}"
    )
