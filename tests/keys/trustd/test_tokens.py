"""Tokens, their keys and where they are published, read by a library that is not ours."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import KeySet

from sealserve.attestation.token import TokenKeys, verify_token
from sealserve.keys.trustd.tokens import Tokens
from sealserve.native.errors import EvidenceError
from support.attestation_simulated import NOW
from support.keys_trustd import LocalTrustd
from support.keys_vault import unb64url

TOLD = {"x-ms-sevsnpvm-hostdata": "ab" * 32, "x-ms-runtime": {"keys": [{"kty": "RSA"}]}}


@pytest.fixture
def tokens(trustd: LocalTrustd) -> Tokens:
    found: Tokens = trustd.service.tokens
    return found


@pytest.fixture
def published(tokens: Tokens) -> dict[str, Any]:
    """The key set as it comes over the wire."""
    value: dict[str, Any] = json.loads(json.dumps(tokens.jwks()))
    return value


def issued(tokens: Tokens, told: dict[str, Any]) -> str:
    """A token that says this."""
    token: str = tokens.sign(tokens.claims(told, NOW))
    return token


def key_set(published: Any) -> KeySet:
    return KeySet.import_key_set(published)


def test_another_library_believes_our_tokens(tokens: Tokens, published: dict[str, Any]) -> None:
    token = jwt.decode(issued(tokens, TOLD), key_set(published), algorithms=["RS256"])
    jwt.JWTClaimsRegistry(
        now=int(NOW.timestamp()), iss={"essential": True, "value": tokens.issuer}
    ).validate(token.claims)
    assert {name: token.claims[name] for name in TOLD} == TOLD
    assert token.claims["x-ms-ver"] == "1.0"


def test_a_header_as_azures_services_write_it(tokens: Tokens, published: dict[str, Any]) -> None:
    header = json.loads(unb64url(issued(tokens, TOLD).split(".")[0]))
    assert header == {
        "alg": "RS256",
        "jku": f"{tokens.issuer}/certs",
        "kid": published["keys"][0]["kid"],
        "typ": "JWT",
    }
    assert len(base64.b64decode(header["kid"], validate=True)) == 32


@pytest.mark.parametrize("part", [0, 1, 2])
def test_another_library_refuses_an_altered_token(
    part: int, tokens: Tokens, published: dict[str, Any]
) -> None:
    parts = issued(tokens, TOLD).split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = f"{parts[part][:middle]}{other}{parts[part][middle + 1 :]}"
    with pytest.raises((JoseError, ValueError)):
        jwt.decode(".".join(parts), key_set(published), algorithms=["RS256"])


def test_the_keys_of_another_service_do_not_verify(
    tokens: Tokens, real: LocalTrustd, published: dict[str, Any]
) -> None:
    other = json.loads(json.dumps(real.service.tokens.jwks()))
    other["keys"][0]["kid"] = published["keys"][0]["kid"]
    with pytest.raises(BadSignatureError):
        jwt.decode(issued(tokens, TOLD), key_set(other), algorithms=["RS256"])


def test_the_published_key_is_public_and_the_same_in_both_forms(
    trustd: LocalTrustd, published: dict[str, Any]
) -> None:
    (key,) = published["keys"]
    assert key.keys() == {"alg", "e", "kid", "kty", "n", "use", "x5c"}
    (encoded,) = key["x5c"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(encoded, validate=True))
    public = certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    numbers = public.public_numbers()
    assert numbers == trustd.service._ring.newest().key.public_key().public_numbers()
    assert int.from_bytes(unb64url(key["n"]), "big") == numbers.n
    assert int.from_bytes(unb64url(key["e"]), "big") == numbers.e
    assert public.key_size == 3072
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert base64.b64decode(key["kid"]) == hashlib.sha256(der).digest()


def test_our_own_parser_reads_them(tokens: Tokens, published: dict[str, Any]) -> None:
    keys = TokenKeys.parse(json.dumps(published).encode())
    token = issued(tokens, TOLD)
    assert keys.knows(token)
    assert verify_token(token, keys, issuer=tokens.issuer, now=NOW)["iss"] == tokens.issuer
    without_numbers = {name: published["keys"][0][name] for name in ("kid", "kty", "x5c")}
    keys = TokenKeys.parse(json.dumps({"keys": [without_numbers]}).encode())  # as Azure has them
    assert verify_token(token, keys, issuer=tokens.issuer, now=NOW)
    assert tokens.keys.keys.keys() == keys.keys.keys()


def test_the_keys_stay_from_start_to_start(trustd: LocalTrustd) -> None:
    again = LocalTrustd(trustd.folder.path, trustd.connection)
    assert again.service.tokens.jwks() == trustd.service.tokens.jwks()
    again.records.close()


def test_a_simulated_and_a_real_issuer_are_told_apart(
    tokens: Tokens, trustd: LocalTrustd, real: LocalTrustd
) -> None:
    assert tokens.issuer == f"https://{trustd.connection.address}/simulated"
    assert real.service.tokens.issuer == f"https://{real.connection.address}"
    with pytest.raises(EvidenceError) as caught:
        verify_token(
            issued(tokens, TOLD),
            tokens.keys,
            issuer=trustd.service.state.url,
            now=NOW,
        )
    assert caught.value.code == "token_issuer"


def test_the_openid_configuration(tokens: Tokens) -> None:
    assert tokens.openid_configuration() == {
        "id_token_signing_alg_values_supported": ["RS256"],
        "issuer": tokens.issuer,
        "jwks_uri": f"{tokens.issuer}/certs",
        "response_types_supported": ["token"],
    }


def test_what_is_told_cannot_be_the_issuers_own(tokens: Tokens) -> None:
    forged = dict.fromkeys(("iss", "iat", "nbf", "exp", "jti", "x-ms-ver"), "forged")
    token = issued(tokens, {**TOLD, **forged})
    assert "forged" not in unb64url(token.split(".")[1]).decode()
