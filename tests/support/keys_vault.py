"""An attestation service and a key vault in one, speaking Azure's formats over local HTTPS.

It stands where a trust service will: evidence is verified, policies are evaluated and keys are
wrapped for real. Hooks make exactly one of its answers wrong.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealserve.attestation import Evidence, Roots, verify
from sealserve.attestation.token import TokenKeys, verify_token
from sealserve.keys.connection import Connection
from sealserve.native.errors import EvidenceError, ReleaseError
from sealserve.policy.release import ReleasePolicy
from support.keys_server import LocalServer, Raw, Reply, Request, serve
from support.keys_tls import Ca

OWNER = "token-of-the-owner"
KID = "token-key-1"
Edit = Callable[[Any], Any]


@cache
def rsa_key(bits: int, number: int) -> rsa.RSAPrivateKey:
    """The same key for the same number: making them takes most of the time of these tests."""
    return rsa.generate_private_key(65537, bits)


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def uint(number: int) -> str:
    """A number as JOSE writes it (RFC 7518 section 2, Base64urlUInt)."""
    return b64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def json_bytes(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def signed(payload: bytes, key: rsa.RSAPrivateKey, header: dict[str, Any]) -> str:
    """A compact JWS (RFC 7515) with RS256, whatever the header says."""
    text = f"{b64url(json_bytes(header))}.{b64url(payload)}"
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{b64url(signature)}"


def x5c(*certificates: x509.Certificate) -> list[str]:
    der = serialization.Encoding.DER
    return [base64.b64encode(each.public_bytes(der)).decode() for each in certificates]


def der_chain(pem: str) -> list[bytes]:
    """The certificates of a PEM text, not parsed: AMD's leaves have the serial 0."""
    end = "-----END CERTIFICATE-----"
    return [ssl.PEM_cert_to_DER_cert(each.strip() + end) for each in pem.split(end)[:-1]]


def wrap_key(secret: bytes, to: rsa.RSAPublicKey) -> bytes:
    """RSA_AES_KEY_WRAP_256: RSA-OAEP-256 of a fresh AES key, then RFC 5649 under it."""
    kek = os.urandom(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return to.encrypt(kek, oaep) + keywrap.aes_key_wrap_with_padding(kek, secret)


def pkcs8(key: Any) -> bytes:
    return bytes(
        key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@dataclass
class StoredKey:
    """One version of a key."""

    version: str
    key: rsa.RSAPrivateKey
    policy: bytes
    enabled: bool = True


def unchanged(value: Any) -> Any:
    return value


class SimulatedVault:
    """A context manager. Hooks: `edit_*` change what is about to be answered or signed."""

    def __init__(self, ca: Ca, roots: Roots, *, now: Callable[[], datetime] | None = None) -> None:
        self.ca = ca
        self.keys: dict[str, list[StoredKey]] = {}
        self.token_key = rsa_key(2048, 0)
        self.server: LocalServer = serve(self._answer, ca)
        self.host = self.server.host
        self.issuer = f"https://{self.host}/simulated"
        self.signer = ca.issue("127.0.0.1", key=rsa_key(2048, 1))
        self.edit_claims: Edit = unchanged
        self.edit_payload: Edit = unchanged
        self.edit_bundle: Edit = unchanged
        self.refuse: Callable[[Request], Reply | Raw | None] = lambda request: None
        self._roots = roots
        self._now = now or (lambda: datetime.now(UTC))

    def __enter__(self) -> SimulatedVault:
        self.server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.server.__exit__(*error)

    @property
    def connection(self) -> Connection:
        """What `trustd init` would have written."""
        return Connection(self.host, "simulated", OWNER, self.ca.pem.decode())

    @property
    def token_keys(self) -> TokenKeys:
        return TokenKeys({KID: self.token_key.public_key()})

    def create(self, name: str, policy: bytes) -> StoredKey:
        """A new version of a key, as if the owner had asked."""
        key = rsa_key(3072, sum(map(len, self.keys.values())))
        stored = StoredKey(secrets.token_hex(16), key, policy)
        self.keys.setdefault(name, []).append(stored)
        return stored

    def url(self, name: str, stored: StoredKey) -> str:
        return f"https://{self.host}/keys/{name}/{stored.version}"

    def paths(self, method: str) -> list[str]:
        """What was asked with this method, in order."""
        return [each.path for each in self.server.requests if each.method == method]

    # ---- attestation

    def token(self, evidence: Evidence) -> str:
        """A token for this evidence. Raises EvidenceError."""
        claims = verify(evidence, self._roots, self._now())
        report = claims.report
        now = int(self._now().timestamp())
        told = {
            "iss": self.issuer,
            "iat": now,
            "nbf": now,
            "exp": now + 28800,
            "x-ms-ver": "1.0",
            "x-ms-attestation-type": "sevsnpvm",
            "x-ms-compliance-status": "sealserve-simulated",
            "x-ms-runtime": json.loads(claims.runtime),
            "x-ms-sevsnpvm-hostdata": report.host_data.hex(),
            "x-ms-sevsnpvm-reportdata": report.report_data.hex(),
            "x-ms-sevsnpvm-is-debuggable": report.policy.debug,
            "x-ms-sevsnpvm-vmpl": report.vmpl,
        }
        return jwt.encode(
            self.edit_claims(told), self.token_key, algorithm="RS256", headers={"kid": KID}
        )

    def _attest(self, request: Request) -> Reply:
        body = request.json
        report = json.loads(unb64url(body["report"]))
        leaf, intermediate, root = der_chain(unb64url(report["VcekCertChain"]).decode())
        evidence = Evidence(
            report=unb64url(report["SnpReport"]),
            leaf=leaf,
            intermediate=intermediate,
            claims=unb64url(body["runtimeData"]["data"]),
            root=root,
        )
        try:
            return Reply.of({"token": self.token(evidence)})
        except EvidenceError as error:
            return failure(400, "InvalidParameter", error.message)

    def _certs(self, _: Request) -> Reply:
        numbers = self.token_key.public_key().public_numbers()
        key = {"kid": KID, "kty": "RSA", "n": uint(numbers.n), "e": uint(numbers.e)}
        return Reply.of({"keys": [key]})

    # ---- vault

    def _keys(self, request: Request) -> Reply:
        _, _, name, *rest = request.path.split("/")
        if request.headers.get("authorization", "").removeprefix("Bearer ") == "":
            return self._challenge()
        if rest and rest[-1] == "release":
            return self._release(name, rest[0], request)
        if request.headers["authorization"] != f"Bearer {OWNER}":
            return self._challenge()
        if request.method == "PUT":
            return self._brought(name, request)
        if rest == ["create"]:
            policy = unb64url(request.json["release_policy"]["data"])
            return Reply.of(self.edit_bundle(self.bundle(name, self.create(name, policy))))
        stored = self._find(name, rest[0] if rest else "")
        if stored is None:
            return failure(404, "KeyNotFound", f"A key with (name/id) {name} was not found")
        return Reply.of(self.edit_bundle(self.bundle(name, stored)))

    def _brought(self, name: str, request: Request) -> Reply:
        given, sent = request.json, request.json["key"]
        p, q, d, dp, dq, qi, e, n = (
            int.from_bytes(unb64url(sent[part]), "big")
            for part in ("p", "q", "d", "dp", "dq", "qi", "e", "n")
        )
        public = rsa.RSAPublicNumbers(e, n)
        key = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key()
        policy = unb64url(given["release_policy"]["data"])
        stored = StoredKey(secrets.token_hex(16), key, policy)
        self.keys.setdefault(name, []).append(stored)
        return Reply.of(self.edit_bundle(self.bundle(name, stored)))

    def _challenge(self) -> Reply:
        told = f'Bearer authorization="https://{self.host}/t", resource="https://{self.host}"'
        body = {"error": {"code": "Unauthorized", "message": "no token we accept"}}
        return Reply.of(body, 401, **{"WWW-Authenticate": told})

    def _find(self, name: str, version: str) -> StoredKey | None:
        versions = self.keys.get(name, [])
        if not version:
            return versions[-1] if versions else None
        return next((each for each in versions if each.version == version), None)

    def bundle(self, name: str, stored: StoredKey) -> dict[str, Any]:
        """What create and get answer."""
        numbers = stored.key.public_key().public_numbers()
        return {
            "key": {
                "kid": self.url(name, stored),
                "kty": "RSA-HSM",
                "key_ops": ["wrapKey", "unwrapKey"],
                "n": uint(numbers.n),
                "e": uint(numbers.e),
            },
            "attributes": {
                "enabled": stored.enabled,
                "exportable": True,
                "created": 1,
                "updated": 1,
            },
            "release_policy": {
                "contentType": "application/json; charset=utf-8",
                "data": b64url(stored.policy),
                "immutable": False,
            },
        }

    def _release(self, name: str, version: str, request: Request) -> Reply:
        stored = self._find(name, version)
        if stored is None:
            return failure(404, "KeyNotFound", f"A key with (name/id) {name} was not found")
        body = request.json
        try:
            claims = verify_token(
                body["target"], self.token_keys, issuer=self.issuer, now=self._now()
            )
            ReleasePolicy.parse(stored.policy).evaluate(claims)
        except (EvidenceError, ReleaseError) as error:
            return failure(403, "Forbidden", error.message)
        return Reply.of({"value": self.answer(name, stored, claims, body["enc"])})

    def answer(self, name: str, stored: StoredKey, claims: Any, enc: str) -> str:
        """The signed release answer, wrapped to the key in these claims."""
        jwk = claims["x-ms-runtime"]["keys"][0]
        numbers = (int.from_bytes(unb64url(jwk[part]), "big") for part in ("e", "n"))
        wrapped = wrap_key(pkcs8(stored.key), rsa.RSAPublicNumbers(*numbers).public_key())
        payload = self.edit_payload(self.payload(name, stored, wrapped, enc))
        assert isinstance(self.signer.key, rsa.RSAPrivateKey)
        chain = x5c(self.signer.certificate, *self.signer.above)
        return signed(json_bytes(payload), self.signer.key, {"alg": "RS256", "x5c": chain})

    def payload(self, name: str, stored: StoredKey, wrapped: bytes, enc: str) -> dict[str, Any]:
        """What the answer signs, in Key Vault's shape."""
        url = self.url(name, stored)
        header = {"kid": url, "alg": "dir", "enc": enc}
        sealed = {"schema_version": "1.0", "header": header, "ciphertext": b64url(wrapped)}
        bundle = self.bundle(name, stored)
        bundle["key"]["key_hsm"] = b64url(json_bytes(sealed))
        del bundle["release_policy"]["contentType"]
        return {
            "request": {"api-version": "7.6", "enc": enc, "kid": url},
            "response": {"key": bundle},
        }

    def _answer(self, request: Request) -> Reply | Raw:
        refused = self.refuse(request)
        if refused is not None:
            return refused
        if request.path == "/attest/SevSnpVm":
            return self._attest(request)
        if request.path == "/simulated/certs":
            return self._certs(request)
        if request.path.startswith("/keys/"):
            return self._keys(request)
        return failure(404, "NotFound", request.path)


def failure(status: int, code: str, message: str) -> Reply:
    """An error as Azure's services tell it."""
    return Reply.of({"error": {"code": code, "message": message}}, status)
