"""Requests of anybody to the trust service and the sidecar."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric import ec

from fuzz.ground import REAL
from sealserve.attestation import (
    Evidence,
    Roots,
    TlsClaims,
)
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused
from sealserve.keys.sidecar.allowed import Allowed, Options
from sealserve.keys.sidecar.environment import NAMES, Environment
from sealserve.keys.sidecar.events import Log
from sealserve.keys.sidecar.packets import Annotation, WrapRequest
from sealserve.keys.sidecar.runtime_data import check as check_runtime_data
from sealserve.keys.sidecar.service import Sidecar
from sealserve.keys.trustd import material, passphrase
from sealserve.keys.trustd.attest import attest
from sealserve.native.errors import (
    ConfigError,
)
from support.attestation_vectors import vector
from support.fuzz_mutations import Target
from support.keys_vault import b64url, json_bytes, rsa_key, uint

# ---- keys/trustd: requests of anybody


def body() -> Target:
    """A JSON object, every member asked for as everything it could be."""

    def every(asked: Body, name: str) -> Iterator[Callable[[], object]]:
        yield from (lambda: asked.text(name), lambda: asked.integer(name))
        yield from (lambda: asked.flag(name, False), lambda: asked.bytes(name))
        yield from (lambda: asked.texts(name), asked.items)
        yield lambda: asked.object(name).text("inner")

    def run(data: bytes) -> None:
        asked = Body.parse(data)
        for name in json.loads(data):
            for ask in every(asked, name):
                with suppress(Refused):
                    ask()

    values = {"a": "text", "b": 7, "c": True, "d": "AAECAw==", "e": {"inner": "x"}, "f": ["x"]}
    return Target(run, [json_bytes(values), json_bytes({"é": "\u2028"})], (Refused,))


def attestation_request() -> Target:
    """What `POST /attest` takes."""
    row = vector(REAL)
    real = row.evidence()
    pem = b"".join(map(as_pem, (real.leaf, real.intermediate)))
    told = {"SnpReport": b64url(real.report), "VcekCertChain": b64url(pem), "Endorsements": "e30"}
    runtime = {"data": b64url(real.claims), "dataType": "JSON"}
    request = {"report": b64url(json_bytes(told)), "runtimeData": runtime, "nonce": "7"}

    def run(data: bytes) -> None:
        attest(Body.parse(data), Roots.amd(), None, row.at)

    return Target(run, [json_bytes(request)], (Refused,))


def attestation_report() -> Target:
    """The inner part of such a request."""
    row = vector(REAL)
    real = row.evidence()
    chain = b64url(b"".join(map(as_pem, (real.leaf, real.intermediate))))
    told = {"SnpReport": b64url(real.report), "VcekCertChain": chain, "Endorsements": "e30"}
    runtime = {"data": b64url(real.claims), "dataType": "JSON"}

    def run(data: bytes) -> None:
        request = json_bytes({"report": b64url(data), "runtimeData": runtime})
        attest(Body.parse(request), Roots.amd(), None, row.at)

    return Target(run, [json_bytes(told)], (Refused,))


def as_pem(data: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(data).encode()


def key_request() -> Target:
    """A key that an owner brings."""

    def run(data: bytes) -> None:
        jwk = Body.parse(data).object("key")
        material.operations(jwk)
        material.read(jwk.text("kty"), jwk)

    secret = rsa_key(2048, 0).private_numbers()
    public = rsa_key(2048, 0).public_key().public_numbers()
    numbers = {"n": public.n, "e": public.e, "d": secret.d, "p": secret.p, "q": secret.q}
    numbers |= {"dp": secret.dmp1, "dq": secret.dmq1, "qi": secret.iqmp}
    brought = {"kty": "RSA", "key_ops": ["wrapKey"], **{k: uint(v) for k, v in numbers.items()}}
    octets = {"kty": "oct-HSM", "k": b64url(bytes(range(32)))}
    curve = {"kty": "EC", "crv": "P-256", **ec_numbers()}
    seeds = [json_bytes({"key": each}) for each in (brought, octets, curve)]
    return Target(run, seeds, (Refused,))


# ---- keys/sidecar: requests of other containers, and what their group's template sets


def runtime_data() -> Target:
    """What is attested for a caller has no member of ours for a reader of JSON we did not write."""

    def run(data: bytes) -> None:
        check_runtime_data(data)
        with suppress(ValueError, RecursionError):
            assert not names_in(json.loads(data)) & {"keys", "sealserve"}

    ours = TlsClaims(bytes(32)).encode().replace(b"sealserve", b"other")
    nested = json_bytes({"a": json.dumps({"b": [json.dumps({"c": 1})]})})
    spelled = (b'"keys":', b"keys", rb"\u006beys", b"SealServe", "\u212aey\u017f".encode())
    return Target(run, [ours, nested, ours.decode().encode("utf-16")], (Refused,), spelled)


def names_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return {*map(str.casefold, value)}.union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


class Hardware:
    """Evidence of a real machine, whatever it is asked about."""

    platform = "aci"

    def evidence(self, _claims: bytes) -> Evidence:
        return vector(REAL).evidence()


def sidecar_request() -> Target:
    """Of REST: attested as it would be, or read up to where a vault would be asked."""
    options = Options(("v.example",), (), ("https://a.example",), ("k",))
    sidecar = Sidecar(Hardware(), Allowed.of(options, "aci"), Log("panic"))

    def run(data: bytes) -> None:
        asked = Body.parse(data)
        if asked.has("runtime_data"):
            sidecar.raw(asked)
            sidecar.combined(asked)
        else:
            token = asked.text("access_token") if asked.has("access_token") else ""
            vault, service = asked.text("akv_endpoint"), asked.text("maa_endpoint")
            sidecar.wanted(vault=vault, service=service, kid=asked.text("kid"), access_token=token)

    attest = {"maa_endpoint": "a.example", "runtime_data": "eyJub25jZSI6MX0="}
    wanted = {"maa_endpoint": "a.example", "akv_endpoint": "v.example", "kid": "k"}
    seeds = [attest, wanted, {**wanted, "kid": "k/" + "ab" * 16, "access_token": "a.b-c_d"}]
    return Target(run, [json_bytes(seed) for seed in seeds], (Refused,))


def key_provider_packet() -> Target:
    """Of gRPC: ocicrypt's JSON, in either direction."""

    def run(data: bytes) -> None:
        read = WrapRequest.read if b"keywrapparams" in data else Annotation.read_unwrap
        read(data)

    agent = {"Parameters": {"attestation-agent": ["c2tyOms="]}}
    packed = base64.b64encode(Annotation("k", b"x", "v.example", "a.example").encode()).decode()
    wrapping = {"op": "keywrap", "keywrapparams": {"ec": agent, "optsdata": "eA=="}}
    unwrapping = {"op": "keyunwrap", "keyunwrapparams": {"dc": agent, "annotation": packed}}
    return Target(run, [json_bytes(wrapping), json_bytes(unwrapping)], (Refused,))


def sidecar_environment() -> Target:
    """SkrSideCarArgs, the JSON inside and the text as it stands."""

    def run(data: bytes) -> None:
        Environment.read({"SkrSideCarArgs": base64.b64encode(data).decode()})
        with suppress(ConfigError):
            Environment.read(dict.fromkeys(NAMES, data.decode("latin-1")))

    told = {
        "certcache": {"endpoint_type": "AMD", "endpoint": "kdsintf.amd.com", "tee_type": ""},
        "identity": {"client_id": "00000000-0000-4000-8000-00000000000a"},
        "maaconfig": {"user_agent": "mine/1.0"},
    }
    return Target(run, [json_bytes(told), b"{}"], (ConfigError,))


def ec_numbers() -> dict[str, str]:
    """The whole private key with the number 7, on P-256."""
    own = ec.derive_private_key(7, ec.SECP256R1()).private_numbers()
    parts = {"x": own.public_numbers.x, "y": own.public_numbers.y, "d": own.private_value}
    return {name: uint(value) for name, value in parts.items()}


def master_sealed() -> Target:
    """A master key behind a passphrase: nothing is derived before the file was read whole."""

    def run(data: bytes) -> None:
        sealed = passphrase.read(data, "master.sealed")
        assert sealed.argon2id.memory_kib <= 1024 * 1024

    seed = passphrase.seal(bytes(32), b"four words nobody says")
    return Target(run, [seed], (ConfigError,))
