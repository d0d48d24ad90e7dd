"""A released key as the JSON Web Key (RFC 7517, 7518) that callers get, private part included."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealserve.attestation.binding import b64url
from sealserve.keys import jws
from sealserve.keys.answer import ReleasedKey, asymmetric_key
from sealserve.keys.jwk_members import private_rsa
from sealserve.native.secret import SecretBuffer

# RFC 7518 section 6.2.1.1 and RFC 8812; P-256K is Azure's name of the last.
CURVES = {
    "secp256r1": ("P-256",),
    "secp384r1": ("P-384",),
    "secp521r1": ("P-521",),
    "secp256k1": ("P-256K", "secp256k1"),
}
MAX_OCT_BYTES = 64  # Azure: "k property of oct key is too large, maximum size is 64"
_HSM = "-HSM"


def private_jwk(released: ReleasedKey, secret: SecretBuffer) -> dict[str, object]:
    """The key in `secret`, compared with the public part that the vault's answer shows.

    Its type comes without the suffix -HSM: it has left. Raises ReleaseError.
    """
    kind = released.kty.removesuffix(_HSM)
    if kind == "oct":
        members = _oct(secret)
    elif kind == "RSA":
        members = _rsa(released.rsa_key(secret))
    else:
        members = _ec(released, secret)
    return {"kty": kind, **members, **_operations(released)}


def _oct(secret: SecretBuffer) -> dict[str, str]:
    if not 0 < len(secret) <= MAX_OCT_BYTES:
        raise jws.wrong_answer(
            f"a symmetric key of {len(secret)} bytes", f"1 to {MAX_OCT_BYTES} bytes"
        )
    return {"k": b64url(bytes(secret))}


def _rsa(key: rsa.RSAPrivateKey) -> dict[str, str]:
    return {name: b64url(octets) for name, octets in private_rsa(key).items()}


def _ec(released: ReleasedKey, secret: SecretBuffer) -> dict[str, str]:
    key = asymmetric_key(secret)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise jws.wrong_answer(f"a {type(key).__name__} inside key_hsm", "a key on a curve")
    names = CURVES.get(key.curve.name, ())
    curve = released.jwk.get("crv", names[0] if names else "")
    if curve not in names:
        raise jws.wrong_answer(
            f"a key on {key.curve.name} inside key_hsm, {str(curve)[:40]!r} beside it",
            f"one of {', '.join(name for each in CURVES.values() for name in each)}, twice",
        )
    public = key.public_key().public_numbers()
    released.require_beside("x", public.x)
    released.require_beside("y", public.y)
    size = (key.curve.key_size + 7) // 8  # RFC 7518 section 6.2.1.2: always the curve's full size
    values = {"x": public.x, "y": public.y, "d": key.private_numbers().private_value}
    return {"crv": str(curve), **{name: _uint(value, size) for name, value in values.items()}}


def _operations(released: ReleasedKey) -> dict[str, list[str]]:
    """`key_ops` as the vault said; an empty list, which means all there, is left out."""
    operations = released.jwk.get("key_ops")
    if not operations:
        return {}
    if not isinstance(operations, list) or not all(isinstance(each, str) for each in operations):
        raise jws.wrong_answer("key_ops that are not a list of texts", "one")
    return {"key_ops": operations}


def _uint(value: int, size: int) -> str:
    return b64url(value.to_bytes(size, "big"))
