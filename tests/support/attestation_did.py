"""The DID document of a resolved did:x509, as the official vectors have it."""

from __future__ import annotations

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealserve.attestation.did_x509 import Resolved


def unb64url(text: str) -> bytes:
    """Unpadded base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _b64url(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size)).rstrip(b"=").decode()


def document(resolved: Resolved) -> dict[str, Any]:
    """The DID document of the specification (section DID Document Shape)."""
    method = f"{resolved.did}#0"
    uses = {"authentication": resolved.asserts, "assertionMethod": resolved.asserts}
    uses["keyAgreement"] = resolved.agrees
    return {
        "@context": "https://www.w3.org/ns/cid/v1",
        "id": resolved.did,
        "verificationMethod": [
            {
                "id": method,
                "type": "JsonWebKey",
                "controller": resolved.did,
                "publicKeyJwk": _jwk(resolved.key),
            }
        ],
        **{use: [method] for use, allowed in uses.items() if allowed},
    }


def _jwk(key: object) -> dict[str, str]:
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "e": "AQAB", "n": _b64url(numbers.n, key.key_size // 8)}
    assert isinstance(key, ec.EllipticCurvePublicKey)
    point, size = key.public_numbers(), (key.key_size + 7) // 8
    curve = f"P-{key.key_size}"
    return {"kty": "EC", "crv": curve, "x": _b64url(point.x, size), "y": _b64url(point.y, size)}
