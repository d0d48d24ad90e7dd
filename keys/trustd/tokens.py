"""The tokens the attestation service signs, and the keys it publishes for them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime

import jwt
from cryptography.hazmat.primitives import serialization

from sealserve.attestation.binding import b64url
from sealserve.attestation.token import ALGORITHM, LIFETIME_SECONDS, TokenKeys
from sealserve.keys.trustd.material import rsa_members
from sealserve.keys.trustd.token_keys import TokenKey, TokenKeyRing

# In the language of Azure's attestation policies: whoever is genuine gets a token. What it is good
# for is the business of release policies. Changed if `attest` ever asks for more.
ATTESTATION_POLICY = "version= 1.0;authorizationrules{=>permit();};issuancerules{};"


class Tokens:
    """Issues and recognises the tokens of one service."""

    def __init__(self, issuer: str, ring: TokenKeyRing, clock: Callable[[], datetime]) -> None:
        self.issuer = issuer
        self._ring = ring
        self._clock = clock

    @property
    def keys(self) -> TokenKeys:
        """What verifies them now."""
        valid = self._ring.valid(self._clock())
        return TokenKeys({each.kid: each.key.public_key() for each in valid})

    def claims(self, told: Mapping[str, object], now: datetime) -> dict[str, object]:
        """All that a token says which says this, from now on for the service's fixed time."""
        return issued(self.issuer, told, now)

    def sign(self, claims: Mapping[str, object]) -> str:
        """The token that says these claims."""
        newest = self._ring.newest()
        headers = {"jku": f"{self.issuer}/certs", "kid": newest.kid}
        return jwt.encode(dict(claims), newest.key, algorithm=ALGORITHM, headers=headers)

    def jwks(self) -> dict[str, object]:
        """The published key set (RFC 7517), with certificates as Azure has them."""
        return {"keys": [_published(each) for each in self._ring.valid(self._clock())]}

    def openid_configuration(self) -> dict[str, object]:
        """OpenID Connect Discovery 1.0 section 3, as much as Azure's service publishes."""
        return {
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/certs",
            "response_types_supported": ["token"],
        }


def issued(issuer: str, told: Mapping[str, object], now: datetime) -> dict[str, object]:
    """All that a token of this issuer says which says this, from now on for a fixed time."""
    instant = int(now.timestamp())
    return {
        **told,
        "iss": issuer,
        "iat": instant,
        "nbf": instant,
        "exp": instant + LIFETIME_SECONDS,
        "jti": secrets.token_hex(32),
        "x-ms-policy-hash": policy_hash(ATTESTATION_POLICY),
        "x-ms-ver": "1.0",
    }


def policy_hash(text: str) -> str:
    """`x-ms-policy-hash` of an attestation policy that is not signed, as Azure computes it."""
    return b64url(hashlib.sha256(b64url(text.encode()).encode()).digest())


def _published(each: TokenKey) -> dict[str, object]:
    der = each.certificate.public_bytes(serialization.Encoding.DER)
    return {
        **rsa_members(each.key.public_key()),
        "alg": ALGORITHM,
        "kid": each.kid,
        "kty": "RSA",
        "use": "sig",
        "x5c": [base64.b64encode(der).decode()],
    }
