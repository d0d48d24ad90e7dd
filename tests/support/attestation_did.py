"""The official vectors of did:x509: the DID document they expect, and when a chain was valid."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sealserve.attestation.did_x509 import Resolved


def unb64url(text: str) -> bytes:
    """Unpadded base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(number: int, size: int) -> str:
    return _b64url(number.to_bytes(size))


def beginning(chain: Sequence[bytes], otherwise: datetime) -> datetime:
    """The first moment at which every certificate was valid; `otherwise` if one cannot be read.

    "Certificate validity periods are not checked by these vectors" (section Test Vectors): some
    have expired and resolve all the same, at a time of their own.
    """
    try:
        return max(x509.load_der_x509_certificate(der).not_valid_before_utc for der in chain)
    except ValueError:
        return otherwise


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
        exponent = _number(numbers.e, (numbers.e.bit_length() + 7) // 8)
        return {"kty": "RSA", "e": exponent, "n": _number(numbers.n, key.key_size // 8)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _b64url(key.public_bytes_raw())}
    assert isinstance(key, ec.EllipticCurvePublicKey)
    point, size = key.public_numbers(), (key.key_size + 7) // 8
    curve = f"P-{key.key_size}"
    return {"kty": "EC", "crv": curve, "x": _number(point.x, size), "y": _number(point.y, size)}
