"""The service on its port: the unmodified Azure SDK, and whoever else sends it something."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.keyvault.keys import (
    JsonWebKey,
    KeyClient,
    KeyExportEncryptionAlgorithm,
    KeyReleasePolicy,
)
from cryptography import x509
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import padding

from sealserve.attestation.binding import ReleaseClaims
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys import incoming, jws
from sealserve.keys.answer import WRAP_HASHES
from sealserve.keys.attest import request_body
from sealserve.keys.authority import Authority
from sealserve.keys.body import MAX_BODY_BYTES
from sealserve.keys.connection import Connection
from sealserve.keys.trustd import endpoint
from sealserve.policy.release_build import build
from support.attestation_simulated import CLAIMS, HOST_DATA, NOW, machine_of
from support.keys_trustd import LocalTrustd, make, private_jwk, random_name, serving
from support.keys_vault import rsa_key, unb64url

MACHINE_KEY = rsa_key(3072, 3)


@pytest.fixture(scope="module")
def running(made: tuple[Path, Connection]) -> Iterator[LocalTrustd]:
    with serving(*made) as trustd:
        yield trustd


@pytest.fixture
def url(running: LocalTrustd) -> str:
    return f"https://{running.connection.address}"


@pytest.fixture
def raw(running: LocalTrustd, url: str) -> Iterator[httpx.Client]:
    """A plain HTTP client that trusts the service."""
    tls = running.connection.authority().tls()
    with httpx.Client(base_url=url, verify=tls, trust_env=False) as client:
        yield client


class Asked:
    """A credential that writes down how it was asked for."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.calls: list[tuple[tuple[str, ...], dict[str, object]]] = []

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        self.calls.append((scopes, options))
        return AccessToken(self.token, 2**40)


@pytest.fixture
def client_of(running: LocalTrustd, url: str) -> Iterator[Callable[..., KeyClient]]:
    """Make clients with the SDK as it is, told only the CA and that this is not Azure's domain."""
    opened: list[KeyClient] = []

    def make(token: str = running.owner, credential: Any = None) -> KeyClient:
        opened.append(
            KeyClient(
                url,
                credential or Asked(token),
                verify_challenge_resource=False,
                connection_verify=str(running.folder.ca),
                retry_total=0,
            )
        )
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def client(client_of: Callable[..., KeyClient]) -> KeyClient:
    """The owner's."""
    return client_of()


@pytest.fixture
def policy(running: LocalTrustd) -> bytes:
    written: bytes = build(running.issuer, HOST_DATA.hex(), simulated=True)
    return written


@pytest.fixture
def token(raw: httpx.Client, machine: Machine) -> str:
    """What the service attests of a machine with MACHINE_KEY."""
    evidence = machine.evidence(ReleaseClaims.of(MACHINE_KEY.public_key()).encode())
    return attested(raw, request_body(evidence, with_crl=True))


def attested(raw: httpx.Client, body: bytes) -> str:
    answer = raw.post("/attest/SevSnpVm?api-version=2022-08-01", content=body)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


# ---- the SDK


def test_the_sdk_makes_an_rsa_key(client: KeyClient, policy: bytes, url: str) -> None:
    name = random_name()
    key: Any = client.create_rsa_key(
        name,
        size=3072,
        hardware_protected=True,
        exportable=True,
        release_policy=KeyReleasePolicy(policy, immutable=True),
        key_operations=["wrapKey", "unwrapKey"],
        tags={"a": "b"},
        not_before=NOW,
        expires_on=NOW + timedelta(days=1),
    )
    assert key.id == f"{url}/keys/{name}/{key.properties.version}"
    assert (key.key_type, key.key_operations) == ("RSA-HSM", ["wrapKey", "unwrapKey"])
    assert len(key.key.n) * 8 == 3072
    properties = key.properties
    assert (properties.enabled, properties.exportable) == (True, True)
    assert (properties.tags, properties.vault_url) == ({"a": "b"}, url)
    assert properties.not_before == NOW
    assert properties.expires_on == NOW + timedelta(days=1)
    assert properties.release_policy.encoded_policy == policy
    assert properties.release_policy.immutable is True


@pytest.mark.parametrize(("hardware", "kind"), [(True, "oct-HSM"), (False, "oct")])
def test_the_sdk_makes_an_oct_key(hardware: bool, kind: str, client: KeyClient) -> None:
    key: Any = client.create_oct_key(random_name(), size=192, hardware_protected=hardware)
    assert (key.key_type, key.key.k) == (kind, None)
    assert key.properties.exportable is False
    assert key.properties.release_policy is None


def test_the_sdk_brings_a_key(client: KeyClient, policy: bytes) -> None:
    jwk = {name: unb64url(str(value)) for name, value in private_jwk().items() if name != "kty"}
    key: Any = client.import_key(
        random_name(),
        JsonWebKey(kty="RSA", key_ops=["wrapKey"], **jwk),
        hardware_protected=True,
        exportable=True,
        release_policy=KeyReleasePolicy(policy),
    )
    assert (key.key_type, key.key.n, key.key.d) == ("RSA-HSM", jwk["n"], None)
    assert key.properties.release_policy.encoded_policy == policy


def test_the_sdk_reads_keys_and_lists(client: KeyClient) -> None:
    name = random_name()
    old, new = (client.create_oct_key(name) for _ in range(2))
    assert client.get_key(name).id == new.id
    assert client.get_key(name, old.properties.version).id == old.id
    versions = [each.version for each in client.list_properties_of_key_versions(name)]
    assert versions == [old.properties.version, new.properties.version]
    assert name in [each.name for each in client.list_properties_of_keys()]
    assert list(client.list_properties_of_key_versions("nobody")) == []


@pytest.mark.parametrize("algorithm", [None, *KeyExportEncryptionAlgorithm])
@pytest.mark.parametrize("versioned", [True, False])
def test_the_sdk_gets_a_key_released(
    algorithm: KeyExportEncryptionAlgorithm | None,
    versioned: bool,
    running: LocalTrustd,
    client: KeyClient,
    client_of: Callable[..., KeyClient],
    policy: bytes,
    token: str,
) -> None:
    made = client.create_oct_key(
        random_name(), exportable=True, release_policy=KeyReleasePolicy(policy)
    )
    released = client_of("whatever").release_key(
        made.name,
        token,
        version=made.properties.version if versioned else None,
        algorithm=algorithm,
        nonce="a nonce",
    )
    state = running.service.state
    payload: Any = jws.open_jws(
        released.value, roots=[state.ca], host=state.address, now=datetime.now(UTC)
    )
    enc = payload["request"]["enc"]
    assert enc == (algorithm.value if algorithm else "CKM_RSA_AES_KEY_WRAP")
    bundle = payload["response"]["key"]["key"]
    assert bundle["kid"] == made.id
    sealed = unb64url(json.loads(unb64url(bundle["key_hsm"]))["ciphertext"])
    digest = WRAP_HASHES[enc]()
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    kek = MACHINE_KEY.decrypt(sealed[:384], oaep)
    record = running.records.find("key", made.name)
    assert record
    assert keywrap.aes_key_unwrap_with_padding(kek, sealed[384:]) == record.secret


def test_the_sdk_disables_a_version(
    client: KeyClient, client_of: Callable[..., KeyClient], policy: bytes
) -> None:
    name = random_name()
    made = client.create_oct_key(name, exportable=True, release_policy=KeyReleasePolicy(policy))
    version = made.properties.version
    changed = client.update_key_properties(name, version, enabled=False, tags={"a": "b"})
    assert changed.properties.enabled is False
    assert changed.properties.tags == {"a": "b"}
    assert client.get_key(name).properties.enabled is False
    with pytest.raises(HttpResponseError, match="disabled"):
        client_of("any").release_key(name, "a.b.c", version=version)
    with pytest.raises(ResourceNotFoundError):
        client.update_key_properties("nothing", enabled=False)
    stored = json.loads(client.get_key(name).properties.release_policy.encoded_policy)
    assert stored == json.loads(policy)


def test_the_challenge_names_the_service(
    client_of: Callable[..., KeyClient], running: LocalTrustd, raw: httpx.Client, url: str
) -> None:
    credential = Asked(running.owner)
    list(client_of(credential=credential).list_properties_of_keys())
    ((scopes, options),) = credential.calls
    assert scopes == (f"{url}/.default",)
    assert options.get("tenant_id") == "trustd"
    # what every process asks first, with neither body nor credential
    answer = raw.post("/keys/model/create?api-version=7.4", headers={"Content-Length": "0"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer authorization="{url}/trustd", resource="{url}"'
    )
    assert answer.json()["error"]["message"].startswith("AKV10000")


@pytest.mark.parametrize("wrong", ["attested", "x" * 43])
def test_another_token_is_nobodys(
    wrong: str, client_of: Callable[..., KeyClient], raw: httpx.Client
) -> None:
    with pytest.raises(ClientAuthenticationError):
        client_of(wrong).get_key("model")
    assert raw.get("/keys", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401


def test_a_token_of_other_letters(raw: httpx.Client) -> None:
    letters = [
        (b"Authorization", "Bearer ümlaut".encode(encoding)) for encoding in ("latin-1", "utf-8")
    ]
    for header in letters:
        assert raw.get("/keys", headers=[header]).status_code == 401


@pytest.mark.parametrize("header", ["", "Basic {}", "{}", "Bearer {0}, Bearer {0}", "Bearer"])
def test_the_owners_token_counts_only_as_a_bearers(
    header: str, running: LocalTrustd, raw: httpx.Client
) -> None:
    headers = {"Authorization": header.format(running.owner)}
    assert raw.get("/keys", headers=headers).status_code == 401
    query = {"access_token": running.owner}
    assert raw.get("/keys", params=query).status_code == 401


def code_of(error: HttpResponseError) -> str | None:
    return error.error.code if error.error else None


def test_refusals_in_the_words_of_the_sdk(
    client: KeyClient,
    client_of: Callable[..., KeyClient],
    policy: bytes,
    simulated_root: SimulatedRoot,
    raw: httpx.Client,
) -> None:
    with pytest.raises(ResourceNotFoundError, match="was not found in this key vault"):
        client.get_key("nobody")
    with pytest.raises(HttpResponseError, match=r"AKV\.SKR\.1004") as caught:
        client.create_oct_key(random_name(), exportable=True)
    assert (caught.value.status_code, code_of(caught.value)) == (400, "BadParameter")
    made = client.create_oct_key(
        random_name(), exportable=True, release_policy=KeyReleasePolicy(policy)
    )
    other = machine_of(simulated_root, ["host-data"])
    body = request_body(other.evidence(ReleaseClaims.of(MACHINE_KEY.public_key()).encode()))
    with pytest.raises(HttpResponseError, match="x-ms-sevsnpvm-hostdata: seen") as caught:
        client_of("any").release_key(made.name, attested(raw, body))
    assert (caught.value.status_code, code_of(caught.value)) == (403, "Forbidden")


# ---- routes


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code, in the one shape that refusals have."""
    told = answer.json()
    assert told.keys() == {"error"}
    assert told["error"].keys() == {"code", "message"}
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, told["error"]["code"]


NO_ROUTE = [
    ("GET", "/"),
    ("GET", "/key"),
    ("GET", "/secrets/model"),
    ("GET", "/keys/model/version/more"),
    ("GET", "/keys//"),
    ("GET", "/certs"),
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/simulated/certs/"),
    ("POST", "/attest"),
    ("POST", "/attest/SevSnpVm/"),
    ("POST", "/attest/SgxEnclave"),
    ("POST", "/keys/model/rotate/now"),
    ("POST", "/keys/model/version/unwrapkey"),
    ("GET", "/deletedkeys/model/version"),
    ("GET", "/keys/a%2Fb/c/d"),
]


@pytest.mark.parametrize(("method", "path"), NO_ROUTE, ids=" ".join)
def test_what_is_no_route(method: str, path: str, raw: httpx.Client) -> None:
    assert error_of(raw.request(method, path)) == (404, "NotFound")


WRONG_METHOD = [
    ("GET", "/attest/SevSnpVm", "POST"),
    ("PUT", "/attest/SevSnpVm", "POST"),
    ("GET", "/keys/model//release", "POST"),
    ("GET", "/keys/model/version/release", "POST"),
    ("POST", "/simulated/certs", "GET, HEAD"),
    ("POST", "/keys", "GET, HEAD"),
    ("DELETE", "/keys/model/version", "GET, HEAD, PATCH"),
    ("PATCH", "/keys/model", "DELETE, GET, HEAD, PUT"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), WRONG_METHOD)
def test_a_route_asked_in_another_way(
    method: str, path: str, allowed: str, raw: httpx.Client
) -> None:
    answer = raw.request(method, path)
    assert error_of(answer) == (405, "MethodNotAllowed")
    assert sorted(answer.headers["Allow"].split(", ")) == allowed.split(", ")


@pytest.mark.parametrize("verb", ["create", "release", "versions"])
def test_a_verb_is_no_version(verb: str, running: LocalTrustd, raw: httpx.Client) -> None:
    """GET on what takes POST must not read a key, nor make one."""
    owner = {"Authorization": f"Bearer {running.owner}"}
    assert raw.get(f"/keys/model/{verb}").status_code == 401
    answer = raw.get(f"/keys/nobody/{verb}", headers=owner)
    if verb == "versions":
        assert answer.json()["value"] == []
    else:
        assert error_of(answer) == (404, "KeyNotFound")


def test_what_everybody_may_read(running: LocalTrustd, raw: httpx.Client, url: str) -> None:
    told = raw.get("/simulated/.well-known/openid-configuration").json()
    assert told["issuer"] == running.issuer
    keys = raw.get(told["jwks_uri"].removeprefix(url))
    assert keys.headers["content-type"] == "application/jwk+json"
    assert keys.json() == running.service.tokens.jwks()


def test_attestation_needs_no_credential(raw: httpx.Client, machine: Machine) -> None:
    assert attested(raw, request_body(machine.evidence(CLAIMS), with_crl=True)).count(".") == 2


@pytest.mark.parametrize("version", [None, "", "x", "7.4;", "7" * 33, "7.4 ", "7..4"])
def test_a_release_needs_an_api_version(version: str | None, raw: httpx.Client, token: str) -> None:
    query = {} if version is None else {"api-version": version}
    answer = raw.post(
        "/keys/model/release",
        params=query,
        headers={"Authorization": "Bearer any"},
        json={"target": token},
    )
    assert error_of(answer) == (400, "BadParameter")
    assert "api-version" in answer.text


@pytest.mark.parametrize("version", ["7.3", "7.6", "2025-07-01", "2025-06-01-preview.2"])
@pytest.mark.parametrize("place", ["/release", "//release"])
def test_versions_of_the_interface(
    version: str, place: str, raw: httpx.Client, client: KeyClient, policy: bytes, token: str
) -> None:
    made = client.create_oct_key(
        random_name(), exportable=True, release_policy=KeyReleasePolicy(policy)
    )
    answer = raw.post(
        f"/keys/{made.name}{place}",
        params={"api-version": version},
        headers={"Authorization": "bearer any"},
        json={"target": token},
    )
    payload = json.loads(unb64url(answer.json()["value"].split(".")[1]))
    assert payload["request"]["api-version"] == version


# ---- bodies


def padded(size: int) -> bytes:
    """A request of attestation that is as long as that, and refused for what it says."""
    return json.dumps({"report": "", "more": ""}).encode().ljust(size)


def test_a_body_of_the_longest_length_is_read(raw: httpx.Client) -> None:
    answer = raw.post("/attest/SevSnpVm", content=padded(MAX_BODY_BYTES))
    assert error_of(answer) == (400, "BadParameter")


@pytest.mark.parametrize("announced", [True, False])
def test_a_longer_body_is_not_read_to_its_end(announced: bool, raw: httpx.Client) -> None:
    body = padded(MAX_BODY_BYTES + 1)
    content = body if announced else iter([body])
    answer = raw.post("/attest/SevSnpVm", content=content)
    assert error_of(answer) == (413, "RequestTooLarge")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/keys/model/create", "/keys/model/release?api-version=7.4"])
def test_a_long_body_of_a_stranger(path: str, raw: httpx.Client) -> None:
    assert raw.post(path, content=padded(MAX_BODY_BYTES + 1)).status_code == 413


BODIES = {
    "no JSON": b"{",
    "a list": b"[]",
    "not UTF-8": b'{"a":"\xff"}',
    "twice": b'{"a":1,"a":1}',
    "deep": b"[" * 100_000,
    "NaN": b'{"a":NaN}',
    "a number without end": b'{"a":' + b"1" * 10_000 + b"}",
    "half a character": b'{"a":"\\udc00"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["/attest/SevSnpVm", "/keys/model/create"])
def test_a_body_that_is_no_object(
    body: bytes, path: str, running: LocalTrustd, raw: httpx.Client
) -> None:
    owner = {"Authorization": f"Bearer {running.owner}"}
    assert error_of(raw.post(path, content=body, headers=owner)) == (400, "BadParameter")


def connected(running: LocalTrustd) -> http.client.HTTPSConnection:
    host, port = running.connection.address.split(":")
    tls = running.connection.authority().tls()
    return http.client.HTTPSConnection(host, int(port), context=tls, timeout=10)


def test_a_body_that_never_ends_is_not_waited_for(
    running: LocalTrustd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "BODY_SECONDS", 0.2)
    connection = connected(running)
    connection.putrequest("POST", "/attest/SevSnpVm")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b'{"report"')
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("connection")) == (408, "close")
    assert json.loads(answer.read())["error"]["code"] == "RequestTimeout"
    connection.close()


def test_somebody_who_leaves_in_the_middle_harms_nobody(
    running: LocalTrustd, raw: httpx.Client
) -> None:
    for _ in range(3):
        connection = connected(running)
        connection.putrequest("POST", "/attest/SevSnpVm")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b'{"report"')
        connection.close()
    assert raw.get("/simulated/certs").status_code == 200


# ---- TLS


def test_the_chain_leads_to_the_authority_whose_digest_servers_pin(running: LocalTrustd) -> None:
    address = running.connection.address
    wanted = running.service.state.ca_sha256
    assert Authority.from_handshake(address, wanted).sha256 == wanted


def test_older_tls_is_not_spoken(running: LocalTrustd) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, port = running.connection.address.split(":")
    with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def shown_leaf(running: LocalTrustd) -> x509.Certificate:
    host, port = running.connection.address.split(":")
    tls = running.connection.authority().tls()
    with (
        socket.create_connection((host, int(port))) as plain,
        tls.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        der = encrypted.getpeercert(binary_form=True)
        assert der
        return x509.load_der_x509_certificate(der)


def test_certificates_are_renewed_under_the_same_keys(running: LocalTrustd) -> None:
    before, signer = shown_leaf(running), running.service.leaves.certificate()
    running.service.leaves.renew(datetime.now(UTC) + timedelta(minutes=1))
    after = shown_leaf(running)
    assert after.serial_number != before.serial_number
    assert after.not_valid_after_utc > before.not_valid_after_utc
    assert after.public_key() == before.public_key()
    renewed = running.service.leaves.certificate()
    assert renewed.serial_number != signer.serial_number
    assert renewed.public_key() == signer.public_key()


# ---- when something is wrong inside


def test_a_record_that_was_altered_is_a_fault_of_the_service(
    running: LocalTrustd, client: KeyClient, raw: httpx.Client
) -> None:
    name = client.create_oct_key(random_name()).name
    database = running.records.database
    with database.transaction():
        database.execute("UPDATE records SET sealed = zeroblob(48) WHERE name = ?", (name,))
    owner = {"Authorization": f"Bearer {running.owner}"}
    assert error_of(raw.get(f"/keys/{name}", headers=owner)) == (500, "InternalError")
    page = f"/keys?$skiptoken={name[:-1]}"
    assert error_of(raw.get(page, headers=owner)) == (500, "InternalError")
    with database.transaction():
        database.execute("DELETE FROM records WHERE name = ?", (name,))


def test_what_nobody_foresaw_is_told_without_its_words(
    running: LocalTrustd,
    raw: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(bearer: str, page: object) -> None:
        raise RuntimeError("the private exponent is 65537")

    events: list[dict[str, object]] = []
    monkeypatch.setattr(endpoint, "log", lambda event, **fields: events.append(fields))
    monkeypatch.setattr(running.service, "names", fail)
    answer = raw.get("/keys")
    assert error_of(answer) == (500, "InternalError")
    ((what, error),) = (each.values() for each in events)
    assert what == "/keys"
    assert str(error).startswith("unforeseen RuntimeError at test_app.py:")
    assert "65537" not in f"{answer.text}{error}"
    assert caplog.records == []  # nor does anybody else write it down
    monkeypatch.undo()
    assert raw.get("/keys").status_code == 401  # and it lives


def test_a_database_that_cannot_be_used_is_worth_a_retry(
    tmp_path: Path, simulated_root: SimulatedRoot
) -> None:
    connection = make(tmp_path / "vault", simulated_root)
    with serving(tmp_path / "vault", connection) as trustd:
        trustd.records.close()
        answer = httpx.get(
            f"https://{connection.address}/keys",
            headers={"Authorization": f"Bearer {trustd.owner}"},
            verify=connection.authority().tls(),
            trust_env=False,
        )
        assert error_of(answer) == (503, "ServiceUnavailable")


def test_many_at_once(running: LocalTrustd, url: str) -> None:
    name = random_name()
    tls = running.connection.authority().tls()
    together = threading.Barrier(8)

    def ask(_: int) -> str:
        owner = {"Authorization": f"Bearer {running.owner}"}
        with httpx.Client(base_url=url, verify=tls, trust_env=False, headers=owner) as client:
            together.wait()
            made = client.post(f"/keys/{name}/create", json={"kty": "oct"}).json()
            kid: str = made["key"]["kid"]
            assert client.get(kid.removeprefix(url)).json() == made
            return kid

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(8)))) == 8
    assert len(running.records.versions("key", name)) == 8
