"""A released key of every type as a JSON Web Key, and each thing that keeps it from being one."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sealserve.keys.answer import ReleasedKey
from sealserve.keys.sidecar.jwk import private_jwk
from sealserve.native.errors import ReleaseError
from sealserve.native.secret import SecretBuffer
from support.keys_vault import b64url, pkcs8, rsa_key, uint, unb64url

RSA = rsa_key(2048, 0)
CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "P-256K": ec.SECP256K1(),
}
KEYS = {name: ec.generate_private_key(curve) for name, curve in CURVES.items()}


def released(kty: str, **jwk: object) -> ReleasedKey:
    return ReleasedKey(request_kid="", enc="", kid="", kty=kty, wrapped=b"", jwk=jwk, enabled=True)


def made(secret: bytes, kty: str, **jwk: object) -> dict[str, Any]:
    with SecretBuffer.from_bytes(secret) as buffer:
        return private_jwk(released(kty, **jwk), buffer)


def number(text: str) -> int:
    return int.from_bytes(unb64url(text), "big")


def public_rsa() -> dict[str, str]:
    numbers = RSA.public_key().public_numbers()
    return {"n": uint(numbers.n), "e": uint(numbers.e)}


def public_ec(name: str) -> dict[str, str]:
    numbers = KEYS[name].public_key().public_numbers()
    return {"crv": name, "x": uint(numbers.x), "y": uint(numbers.y)}


@pytest.mark.parametrize("kty", ["oct", "oct-HSM"])
@pytest.mark.parametrize("size", [1, 32, 64])
def test_octets(kty: str, size: int) -> None:
    secret = bytes(range(size))
    assert made(secret, kty) == {"kty": "oct", "k": b64url(secret)}


@pytest.mark.parametrize("kty", ["RSA", "RSA-HSM"])
def test_rsa_with_everything_that_makes_it_fast(kty: str) -> None:
    jwk = made(pkcs8(RSA), kty, **public_rsa(), key_ops=["decrypt"])
    assert (jwk.pop("kty"), jwk.pop("key_ops")) == ("RSA", ["decrypt"])
    n, e, d, p, q, dp, dq, qi = (
        number(jwk.pop(name)) for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"]
    )
    numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n))
    assert numbers == RSA.private_numbers()
    assert jwk == {}


@pytest.mark.parametrize("kty", ["EC", "EC-HSM"])
@pytest.mark.parametrize("name", CURVES)
def test_curves(name: str, kty: str) -> None:
    jwk = made(pkcs8(KEYS[name]), kty, **public_ec(name))
    size = (CURVES[name].key_size + 7) // 8
    assert (jwk["kty"], jwk["crv"]) == ("EC", name)
    assert {len(unb64url(jwk[part])) for part in "xyd"} == {size}
    assert number(jwk["d"]) == KEYS[name].private_numbers().private_value


def test_a_small_number_fills_its_curve() -> None:
    key = ec.derive_private_key(1, ec.SECP521R1())
    assert made(pkcs8(key), "EC")["d"] == b64url(bytes(65) + b"\1")


def test_a_curve_by_its_registered_name() -> None:
    public = {**public_ec("P-256K"), "crv": "secp256k1"}
    assert made(pkcs8(KEYS["P-256K"]), "EC", **public)["crv"] == "secp256k1"


def test_operations_are_carried_over() -> None:
    assert made(b"k" * 16, "oct", key_ops=["wrapKey"])["key_ops"] == ["wrapKey"]
    assert "key_ops" not in made(b"k" * 16, "oct", key_ops=[])


OTHER = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
P256 = pkcs8(KEYS["P-256"])
REFUSED: dict[str, tuple[bytes, str, dict[str, object], str]] = {
    "no octets": (b"", "oct", {}, "0 bytes"),
    "too many octets": (bytes(65), "oct", {}, "65 bytes"),
    "octets as RSA": (b"k" * 32, "RSA", {}, "does not open"),
    "octets as a curve": (b"k" * 32, "EC", {}, "does not open"),
    "a curve as RSA": (P256, "RSA", {}, "wanted an RSA key"),
    "RSA as a curve": (pkcs8(RSA), "EC", {}, "wanted a key on a curve"),
    "another kind as a curve": (
        pkcs8(ed25519.Ed25519PrivateKey.generate()), "EC", {}, "wanted a key on a curve",
    ),
    "another modulus": (pkcs8(RSA), "RSA", {"n": uint(3)}, "beside it (n)"),
    "another exponent": (pkcs8(RSA), "RSA", {"e": uint(3)}, "beside it (e)"),
    "another curve beside": (P256, "EC", {"crv": "P-384"}, "'P-384' beside it"),
    "no text as a curve": (P256, "EC", {"crv": 7}, "'7' beside it"),
    "another x": (P256, "EC", {**public_ec("P-256"), "x": uint(OTHER.x)}, "beside it (x)"),
    "another y": (P256, "EC", {**public_ec("P-256"), "y": uint(OTHER.y)}, "beside it (y)"),
    "a curve no vault has": (
        pkcs8(ec.generate_private_key(ec.BrainpoolP256R1())), "EC", {}, "brainpoolP256r1",
    ),
    "operations as text": (b"k" * 16, "oct", {"key_ops": "wrapKey"}, "key_ops"),
    "operations as numbers": (b"k" * 16, "oct", {"key_ops": [1]}, "key_ops"),
}  # fmt: skip


@pytest.mark.parametrize(("secret", "kty", "jwk", "words"), REFUSED.values(), ids=REFUSED)
def test_another_key_than_was_promised(
    secret: bytes, kty: str, jwk: dict[str, object], words: str
) -> None:
    with pytest.raises(ReleaseError) as caught:
        made(secret, kty, **jwk)
    assert words in caught.value.message
    assert caught.value.__cause__ is None
