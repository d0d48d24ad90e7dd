"""Keys as a vault holds them: made, imported, and shown as JSON Web Keys (RFC 7517).

RSA, EC and oct, each also with the suffix -HSM that Azure's clients ask for. The suffix is repeated
in answers and means nothing more here: this service has no HSM.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from sealserve.attestation.binding import b64url
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.keys.trustd import pkcs8

RSA_TYPES = ("RSA", "RSA-HSM")
EC_TYPES = ("EC", "EC-HSM")
OCT_TYPES = ("oct", "oct-HSM")
RSA_BITS = (2048, 3072, 4096)
OCT_BITS = (128, 192, 256)
CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "P-256": ec.SECP256R1,
    "P-256K": ec.SECP256K1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}
OPERATIONS = frozenset(
    {"decrypt", "encrypt", "export", "import", "sign", "unwrapKey", "verify", "wrapKey"}
)
MIN_OCT_BYTES = 16
MAX_OCT_BYTES = 64  # Azure's own limit
MAX_RANDOM_BYTES = 128  # Managed HSM's
_PUBLIC_EXPONENT = 65537
_NAMES: Final = {curve().name: name for name, curve in CURVES.items()}
_AES_WRAPS: Final = {"A128KW": 16, "A192KW": 24, "A256KW": 32}  # RFC 7518 section 4.4
_RSA_WRAPS: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "RSA-OAEP": hashes.SHA1,
    "RSA-OAEP-256": hashes.SHA256,
}


def create(kind: str, body: Body) -> bytes:
    """The secret part of a new key of this type; `key_size` or `crv` chooses which.

    Raises Refused, as everything here does.
    """
    if kind in RSA_TYPES:
        bits = _size(body, RSA_BITS, default=2048)
        return pkcs8.encode(rsa.generate_private_key(_PUBLIC_EXPONENT, bits))
    if kind in EC_TYPES:
        return pkcs8.encode(ec.generate_private_key(_curve(body, default="P-256")))
    if kind in OCT_TYPES:
        return os.urandom(_size(body, OCT_BITS, default=256) // 8)
    raise _unknown(kind)


def read(kind: str, jwk: Body) -> bytes:
    """The secret part of a key that somebody brings."""
    if kind in RSA_TYPES:
        return pkcs8.encode(_rsa(jwk))
    if kind in EC_TYPES:
        return pkcs8.encode(_ec(jwk))
    if kind in OCT_TYPES:
        return _oct(jwk)
    raise _unknown(kind)


def public(kind: str, secret: bytes) -> dict[str, str]:
    """The members of the JSON Web Key that are not secret, without its type."""
    if kind in OCT_TYPES:
        return {}
    key = pkcs8.decode(secret)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _ec_members(key.public_key())
    assert isinstance(key, rsa.RSAPrivateKey)
    return rsa_members(key.public_key())


def rsa_members(key: rsa.RSAPublicKey) -> dict[str, str]:
    """Exponent and modulus as a JSON Web Key has them (RFC 7518 section 6.3.1)."""
    numbers = key.public_numbers()
    return {"e": _uint(numbers.e), "n": _uint(numbers.n)}


def operations(body: Body) -> list[str]:
    """`key_ops` as asked for."""
    wanted = body.texts("key_ops")
    for name in wanted:
        if name not in OPERATIONS:
            raise bad_parameter(
                f"key_ops: seen {name[:40]!r}; wanted {', '.join(sorted(OPERATIONS))}"
            )
    return wanted


def wrap(secret: bytes, kind: str, body: Body) -> str:
    """`value` of the request under this key, by the algorithm that `alg` names."""
    alg, value = body.text("alg"), body.bytes("value")
    try:
        if kind in OCT_TYPES and len(secret) == _AES_WRAPS.get(alg):
            return b64url(keywrap.aes_key_wrap(secret, value))
        if kind in RSA_TYPES and alg in _RSA_WRAPS:
            key, digest = pkcs8.decode(secret), _RSA_WRAPS[alg]()
            assert isinstance(key, rsa.RSAPrivateKey)
            oaep = padding.OAEP(padding.MGF1(digest), digest, None)
            return b64url(key.public_key().encrypt(value, oaep))
    except ValueError:
        raise bad_parameter(f"value of {len(value)} bytes cannot be wrapped by {alg}") from None
    raise bad_parameter(f"alg: seen {alg[:40]!r}, which does not fit a key of type {kind}")


def random(body: Body) -> str:
    """`count` random bytes, base64url."""
    count = body.integer("count", most=MAX_RANDOM_BYTES)
    if not count:
        raise bad_parameter(f"count: seen 0; wanted 1 to {MAX_RANDOM_BYTES}")
    return b64url(os.urandom(count))


def _size(body: Body, sizes: tuple[int, ...], *, default: int) -> int:
    bits = body.integer("key_size") if body.has("key_size") else default
    if bits not in sizes:
        raise bad_parameter(f"key_size: seen {bits}; wanted one of {sizes}")
    return bits


def _curve(body: Body, *, default: str = "") -> ec.EllipticCurve:
    name = body.text("crv") if body.has("crv") or not default else default
    if name not in CURVES:
        raise bad_parameter(f"crv: seen {name[:40]!r}; wanted {', '.join(CURVES)}")
    return CURVES[name]()


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


def _ec(jwk: Body) -> ec.EllipticCurvePrivateKey:
    curve = _curve(jwk)
    x, y, d = (int.from_bytes(jwk.bytes(name), "big") for name in ("x", "y", "d"))
    try:
        return ec.EllipticCurvePrivateNumbers(
            d, ec.EllipticCurvePublicNumbers(x, y, curve)
        ).private_key()
    except ValueError:  # as above
        raise bad_parameter("the numbers are no EC key") from None


def _ec_members(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """RFC 7518 section 6.2.1: coordinates have the length of the curve's field."""
    numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
    return {
        "crv": _NAMES[key.curve.name],
        "x": b64url(numbers.x.to_bytes(size, "big")),
        "y": b64url(numbers.y.to_bytes(size, "big")),
    }


def _oct(jwk: Body) -> bytes:
    secret = jwk.bytes("k")
    if len(secret) > MAX_OCT_BYTES:
        raise bad_parameter(f"k property of oct key is too large, maximum size is {MAX_OCT_BYTES}")
    if len(secret) < MIN_OCT_BYTES:
        raise bad_parameter(f"k has {len(secret)} bytes; wanted {MIN_OCT_BYTES} or more")
    return secret


def _uint(value: int) -> str:
    return b64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _unknown(kind: str) -> Refused:
    types = ", ".join(RSA_TYPES + EC_TYPES + OCT_TYPES)
    return bad_parameter(f"kty: seen {kind[:40]!r}; this service has {types}")
