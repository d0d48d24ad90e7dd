"""Tokens, answers of vaults, and the files that people keep of both."""

from __future__ import annotations

import base64
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from fuzz.ground import BUNDLE, HOST, ISSUER, KID, NOW, SECONDS, VECTORS, in_file
from sealserve.attestation.token import TokenKeys, verify_token
from sealserve.keys import jws, keyfile
from sealserve.keys.answer import ReleasedKey
from sealserve.keys.connection import Connection
from sealserve.keys.keyid import KeyId
from sealserve.keys.presented import Presented
from sealserve.keys.terms import Terms
from sealserve.keys.trustd.rehearsal import of_token
from sealserve.native.errors import (
    ConfigError,
    EvidenceError,
    ReleaseError,
)
from support.fuzz_mutations import Target
from support.keys_tls import Ca, Issued
from support.keys_vault import b64url, json_bytes, rsa_key, uint, x5c


def signed(head: bytes, payload: bytes, key: rsa.RSAPrivateKey) -> str:
    """A compact JWS over any bytes."""
    text = f"{b64url(head)}.{b64url(payload)}"
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{b64url(signature)}"


TOKEN_HEAD = json_bytes({"alg": "RS256", "kid": KID, "typ": "JWT"})


@cache
def token_claims_seed() -> bytes:
    times = {"iat": SECONDS, "nbf": SECONDS, "exp": SECONDS + 28800}
    return json_bytes({"iss": ISSUER, **times, "x-ms-runtime": {"keys": []}})


def verified(token: str) -> object:
    keys = TokenKeys({KID: rsa_key(2048, 0).public_key()})
    keys.knows(token)
    return verify_token(token, keys, issuer=ISSUER, now=NOW)


def token() -> Target:
    seed = signed(TOKEN_HEAD, token_claims_seed(), rsa_key(2048, 0)).encode()
    return Target(lambda data: verified(data.decode("latin-1")), [seed], (EvidenceError,))


def token_head() -> Target:
    def run(head: bytes) -> None:
        verified(signed(head, token_claims_seed(), rsa_key(2048, 0)))

    return Target(run, [TOKEN_HEAD], (EvidenceError,), (b'"crit":["b64"],', b'"b64":false,'))


def token_claims() -> Target:
    def run(payload: bytes) -> None:
        verified(signed(TOKEN_HEAD, payload, rsa_key(2048, 0)))

    return Target(run, [token_claims_seed()], (EvidenceError,))


def kept_token() -> Target:
    """A token in a file, and whether a key would be released to whoever shows it."""
    policy = (VECTORS / "policy/release/cvm-nested.json").read_bytes()

    def run(data: bytes) -> None:
        claims = Presented.read(data).claims
        came = of_token(Terms("key", policy), claims, NOW, issuer=ISSUER, verified=False)
        assert all(str(each).isprintable() for each in came.unmet)

    names = ("jwt", "sample.json")
    real = [VECTORS / f"policy/release/token-azurevm-cvm.{name}" for name in names]
    decoded = VECTORS / "policy/release/token-aci.decoded.json"
    seeds = [path.read_bytes() for path in (*real, decoded)]
    return Target(run, seeds, (EvidenceError,), (b'"use":"sig"', b'"key_ops":["encrypt"]'))


def token_keys() -> Target:
    numbers = rsa_key(2048, 0).public_key().public_numbers()
    bare = {"kid": KID, "kty": "RSA", "n": uint(numbers.n), "e": uint(numbers.e)}
    chained = {"kid": "j", "kty": "RSA", "x5c": x5c(vault_signer()[0].certificate)}
    seeds = [json_bytes({"keys": [bare]}), json_bytes({"keys": [chained, {"kty": "EC"}, bare]})]
    return Target(TokenKeys.parse, seeds, (EvidenceError,))


@cache
def vault_signer() -> tuple[Issued, Ca]:
    ca = Ca()
    return ca.issue(HOST, key=rsa_key(2048, 0)), ca


def opened_answer(text: str) -> None:
    roots = [vault_signer()[1].certificate]
    jws.open_jws(text, roots=roots, host=HOST, now=NOW + timedelta(seconds=1))


def answer_head() -> bytes:
    issued, ca = vault_signer()
    return json_bytes({"alg": "RS256", "x5c": x5c(issued.certificate, ca.certificate)})


def answer() -> Target:
    seed = signed(answer_head(), b'{"answer":42}', rsa_key(2048, 0)).encode()
    return Target(lambda data: opened_answer(data.decode("latin-1")), [seed], (ReleaseError,))


def answer_header() -> Target:
    def run(head: bytes) -> None:
        opened_answer(signed(head, b'{"answer":42}', rsa_key(2048, 0)))

    return Target(run, [answer_head()], (ReleaseError,), (b'"crit":["b64"],',))


def answer_certificate() -> Target:
    """The certificate inside such a header, and inside a set of keys."""
    issued, ca = vault_signer()
    root = x5c(ca.certificate)

    def run(data: bytes) -> None:
        chain = [base64.b64encode(data).decode(), *root]
        with suppress(EvidenceError):
            TokenKeys.parse(json_bytes({"keys": [{"kid": KID, "kty": "RSA", "x5c": chain}]}))
        head = json_bytes({"alg": "RS256", "x5c": chain})
        opened_answer(signed(head, b'{"answer":42}', rsa_key(2048, 0)))

    seed = issued.certificate.public_bytes(serialization.Encoding.DER)
    return Target(run, [seed], (ReleaseError,))


def released_key() -> Target:
    """What a vault signed: read, compared and unwrapped."""
    secret = {"schema_version": "1.0", "header": {}, "ciphertext": b64url(bytes(600))}
    key = {"kid": BUNDLE, "kty": "RSA-HSM", "key_hsm": b64url(json_bytes(secret)), "n": "AQAB"}
    bundle = {"key": {"key": key, "attributes": {"enabled": True}}}
    asked = {"enc": "RSA_AES_KEY_WRAP_256", "kid": BUNDLE}

    def run(payload: bytes) -> None:
        found = ReleasedKey.read(jws.json_object(payload, "payload"))
        found.check(KeyId.parse(BUNDLE))
        with suppress(ReleaseError):
            found.unwrap(rsa_key(3072, 0))
            raise AssertionError("zeros were unwrapped")

    return Target(run, [json_bytes({"request": asked, "response": bundle})], (ReleaseError,))


def key_reference() -> Target:
    def run(data: bytes) -> None:
        parsed = KeyId.parse(data.decode("latin-1"))
        assert KeyId.parse(parsed.url) == parsed

    seeds = [BUNDLE.encode(), b"https://[::1]:8443/keys/a", b"https://127.0.0.1/keys/a-b"]
    return Target(run, seeds, (ConfigError,))


def key_file() -> Target:
    def parse(path: Path) -> None:
        with suppress(ConfigError):
            keyfile.read_private(path)
            return
        keyfile.read_public(path)

    private = [(VECTORS / f"models/{name}.key").read_bytes() for name in ("classic", "hybrid")]
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Target(in_file(parse, "key"), private, (ConfigError,), (other, *private))


def connection() -> Target:
    ca = vault_signer()[1].pem.decode()
    seed = Connection("127.0.0.1:8443", "simulated", "token", ca).to_toml().encode()
    return Target(in_file(Connection.load, "connection.toml"), [seed], (ConfigError,))
