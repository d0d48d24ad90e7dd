"""The tokens the attestation service signs, and the keys it publishes for them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime

import jwt
from cryptography.hazmat.primitives import serialization

from sealserve.attestation.token import ALGORITHM, LIFETIME_SECONDS, TokenKeys
from sealserve.keys.trustd.material import rsa_members
from sealserve.keys.trustd.state import State


class Tokens:
    """Issues and recognises the tokens of one service."""

    def __init__(self, state: State) -> None:
        self.issuer = state.issuer
        self._key = state.token_key
        certificate = state.token_certificate.public_bytes(serialization.Encoding.DER)
        self._x5c = base64.b64encode(certificate).decode()
        # Opaque to everybody; Azure's are standard base64 as well.
        self._kid = base64.b64encode(hashlib.sha256(certificate).digest()).decode()

    @property
    def keys(self) -> TokenKeys:
        """What verifies them."""
        return TokenKeys({self._kid: self._key.public_key()})

    def claims(self, told: Mapping[str, object], now: datetime) -> dict[str, object]:
        """All that a token says which says this, from now on for the service's fixed time."""
        instant = int(now.timestamp())
        return {
            **told,
            "iss": self.issuer,
            "iat": instant,
            "nbf": instant,
            "exp": instant + LIFETIME_SECONDS,
            "jti": secrets.token_hex(32),
            "x-ms-ver": "1.0",
        }

    def sign(self, claims: Mapping[str, object]) -> str:
        """The token that says these claims."""
        headers = {"jku": f"{self.issuer}/certs", "kid": self._kid}
        return jwt.encode(dict(claims), self._key, algorithm=ALGORITHM, headers=headers)

    def jwks(self) -> dict[str, object]:
        """The published key set (RFC 7517), with the certificate as Azure has it."""
        key = {
            **rsa_members(self._key.public_key()),
            "alg": ALGORITHM,
            "kid": self._kid,
            "kty": "RSA",
            "use": "sig",
            "x5c": [self._x5c],
        }
        return {"keys": [key]}

    def openid_configuration(self) -> dict[str, object]:
        """OpenID Connect Discovery 1.0 section 3, as much as Azure's service publishes."""
        return {
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/certs",
            "response_types_supported": ["token"],
        }
