"""How a released key leaves: wrapped to the machine's key, inside an answer the service signs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealserve.attestation.binding import b64url
from sealserve.attestation.token import ALGORITHM, jwk_numbers
from sealserve.keys.answer import WRAP_HASHES
from sealserve.keys.refused import bad_parameter, forbidden
from sealserve.keys.trustd.material import rsa_members
from sealserve.keys.wrap import RSA_BITS
from sealserve.native.errors import EvidenceError

DEFAULT_ENC = "CKM_RSA_AES_KEY_WRAP"  # what a vault takes when a request names none
_KEK_BYTES = 32


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """The RSA key inside a verified token, and the algorithm that was asked for."""

    key: rsa.RSAPublicKey
    kid: str
    enc: str

    @classmethod
    def of(cls, claims: Mapping[str, object], enc: str) -> WrappingKey:
        """The one encryption key of the token's runtime claims.

        Azure takes the first of several; here a token has to be clear. Raises Refused.
        """
        name = enc or DEFAULT_ENC
        if name not in WRAP_HASHES:
            raise bad_parameter(f"enc: seen {name[:40]!r}; wanted {', '.join(WRAP_HASHES)}")
        found = _encryption_keys(claims.get("x-ms-runtime"))
        if len(found) != 1:
            raise forbidden(f"x-ms-runtime of the token holds {len(found)} keys to wrap to, not 1")
        if found[0].get("use", "enc") != "enc":
            raise forbidden("the key in x-ms-runtime cannot be used: its use is not enc")
        if found[0].get("kty") != "RSA":
            raise forbidden("the key in x-ms-runtime cannot be used: its kty is not RSA")
        try:
            key = jwk_numbers(found[0]).public_key()
        except EvidenceError as error:
            raise forbidden(f"the key in x-ms-runtime cannot be used: {error.message}") from error
        if key.key_size not in RSA_BITS:
            raise forbidden(f"the key in x-ms-runtime has {key.key_size} bits; wanted {RSA_BITS}")
        return cls(key, str(found[0].get("kid", "")), name)

    @property
    def thumbprint(self) -> str:
        """RFC 7638: the key by its required members alone, whatever `kid` it gives itself."""
        members = {**rsa_members(self.key), "kty": "RSA"}
        text = json.dumps(members, sort_keys=True, separators=(",", ":"))
        return b64url(hashlib.sha256(text.encode()).digest())

    def wrap(self, secret: bytes, kid: str) -> str:
        """`key_hsm`: RSA-OAEP of a fresh AES key, then the secret under it (RFC 5649).

        Raises Refused for numbers that look like a key and encrypt nothing.
        """
        kek = os.urandom(_KEK_BYTES)
        sealed = self._encrypted(kek) + keywrap.aes_key_wrap_with_padding(kek, secret)
        envelope = {
            "schema_version": "1.0",
            "header": {"kid": self.kid or kid, "alg": "dir", "enc": self.enc},
            "ciphertext": b64url(sealed),
        }
        return b64url(_compact(envelope))

    def _encrypted(self, kek: bytes) -> bytes:
        digest = WRAP_HASHES[self.enc]()
        try:
            return self.key.encrypt(kek, padding.OAEP(padding.MGF1(digest), digest, None))
        except ValueError:
            raise forbidden("the key in x-ms-runtime cannot be used: it is no RSA key") from None


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs release answers. chain: leaf first, root last, as `x5c` has it."""

    key: rsa.RSAPrivateKey
    chain: Sequence[x509.Certificate]

    def sign(self, payload: Mapping[str, object]) -> str:
        """A compact JWS (RFC 7515) whose header carries the whole chain."""
        leaf = self.chain[0]
        der = serialization.Encoding.DER
        headers = {
            "kid": leaf.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - a name, as Azure's
            "x5c": [base64.b64encode(each.public_bytes(der)).decode() for each in self.chain],
            "x5t#S256": b64url(leaf.fingerprint(hashes.SHA256())),
        }
        return jwt.PyJWS().encode(_compact(payload), self.key, ALGORITHM, headers)


def _encryption_keys(runtime: object) -> list[dict[str, object]]:
    keys = runtime.get("keys") if isinstance(runtime, dict) else None
    if not isinstance(keys, list):
        return []
    return [key for key in keys if isinstance(key, dict) and _encrypts(key)]


def _encrypts(key: Mapping[str, object]) -> bool:
    operations = key.get("key_ops")
    return key.get("use") == "enc" or (isinstance(operations, list) and "encrypt" in operations)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
