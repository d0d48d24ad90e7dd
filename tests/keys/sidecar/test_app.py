"""Microsoft's REST, asked by programs it is for and by those it is not for."""

from __future__ import annotations

import base64
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sealserve.attestation import Evidence, Roots
from sealserve.attestation.certs import Certificate
from sealserve.keys import incoming
from sealserve.keys.sidecar import app
from sealserve.keys.sidecar.allowed import Allowed, Options
from sealserve.keys.sidecar.app import MAX_BODY_BYTES
from sealserve.keys.sidecar.events import Event
from sealserve.keys.sidecar.service import Sidecar
from support.attestation_vectors import vector
from support.keys_foreign_client import ForeignClient, b64
from support.keys_sidecar import OCTETS, USER_AGENT, Case
from support.keys_vault import b64url, der_chain

DATA = b'{"nonce":"of a caller"}'
ATTEST = ("/attest/raw", "/attest/combined", "/attest/maa")


def release(case: Case, client: ForeignClient, **changes: object):
    body = {"maa_endpoint": case.vault, "akv_endpoint": case.vault, "kid": "octets", **changes}
    return client.post("/key/release", {name: each for name, each in body.items() if each})


# ---- who asks


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
def test_the_names_of_the_loopback(host: str, client: ForeignClient) -> None:
    port = client.address.rpartition(":")[2]
    assert client.get("/status", Host=f"{host}:{port}").status == 200


HOSTS = {
    "a name that resolves here": "rebound.example:PORT",
    "our name without a port": "localhost",
    "our name at another port": "localhost:1",
    "our name and more": "localhost:PORT.example",
    "a user": "user@localhost:PORT",
    "two": "localhost:PORT, rebound.example",
    "nothing": "",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_another_host(host: str, case: Case, client: ForeignClient) -> None:
    host = host.replace("PORT", client.address.rpartition(":")[2])
    said = client.post("/attest/raw", {"runtime_data": b64(DATA)}, Host=host)
    assert said.status == 403
    assert "is not this sidecar" in said.error
    assert client.get("/status", Host=host).status == 403
    assert case.source.asked == []


@pytest.mark.parametrize("header", ["Origin", "Sec_Fetch_Site"])
def test_a_browser(header: str, case: Case, client: ForeignClient) -> None:
    said = client.post("/attest/raw", {"runtime_data": b64(DATA)}, **{header: "null"})
    assert (said.status, "browser" in said.error) == (403, True)
    assert case.source.asked == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("path", [*ATTEST, "/key/release"])
def test_another_content_type(path: str, kind: str, case: Case, client: ForeignClient) -> None:
    said = client.post(path, {"runtime_data": b64(DATA)}, Content_Type=kind)
    assert (said.status, "Content-Type" in said.error) == (415, True)
    assert case.source.asked == []


def test_a_content_type_may_say_more(client: ForeignClient) -> None:
    body = {"runtime_data": b64(DATA)}
    kind = "Application/JSON; charset=utf-8"
    assert client.post("/attest/raw", body, Content_Type=kind).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/key/release", 405), ("POST", "/status", 405),
     ("OPTIONS", "/attest/raw", 405), ("POST", "/attest/raw/", 404), ("POST", "/attest", 404)],
)  # fmt: skip
def test_what_is_not_there(method: str, path: str, status: int, client: ForeignClient) -> None:
    said = client.ask(method, path, b"{}", {})
    assert (said.status, "no such operation" in said.error) == (status, True)


# ---- status


def test_status_is_that_of_the_last_report(case: Case, client: ForeignClient) -> None:
    body = {"runtime_data": b64(DATA)}
    assert client.get("/status").json == {"message": "Status OK"}
    case.source.gone = True
    assert client.post("/attest/raw", body).status == 403
    said = client.get("/status")
    assert (said.status, said.json) == (200, {"message": "Status NOT OK"})
    case.source.gone = False
    assert client.post("/attest/raw", body).status == 200
    assert client.get("/status").json == {"message": "Status OK"}


# ---- attestation


@pytest.mark.parametrize("path", ATTEST)
def test_no_report_no_answer(path: str, case: Case, client: ForeignClient) -> None:
    """Theirs makes one up where there is no hardware."""
    case.source.gone = True
    said = client.post(path, {"maa_endpoint": case.vault, "runtime_data": b64(DATA)})
    assert said.status == 403
    assert "the platform went away" in said.error


def test_everything_of_real_hardware(case: Case) -> None:
    """The chain ends in AMD's root, though evidence never carries it."""
    real = vector("ms-tav/turin-v5-aci").evidence()

    class Hardware:
        platform = "aci"

        def evidence(self, claims: bytes) -> Evidence:
            return real

    sidecar = Sidecar(Hardware(), Allowed.of(Options(), "aci"), case.log)
    told = sidecar.attested(DATA)
    leaf, intermediate, root = der_chain(base64.b64decode(told.endorsements).decode())
    assert (leaf, intermediate) == (real.leaf, real.intermediate)
    assert root == Roots.amd().anchor(Certificate.parse(intermediate).issuer, None).der
    assert base64.b64decode(told.evidence) == real.report
    assert base64.b64decode(told.uvm_endorsements) == (real.uvm_endorsement or b"")
    sidecar.close()


def test_tcb_is_spelled_as_hosts_do(case: Case, client: ForeignClient) -> None:
    """Security contexts of Azure say 7308000000000003 for 03 00 00 00 00 00 08 73."""
    said = client.post("/attest/combined", {"runtime_data": b64(DATA)})
    tcb = base64.b64decode(said.json["evidence"])[0x180:0x188]
    assert said.json["endorsed_tcb"] == tcb[::-1].hex().upper()


def test_the_service_hears_the_user_agent(
    case: Case, client: ForeignClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (service,) = case.sidecar._services.values()
    sent: list[dict[str, str]] = []
    ask = service._exchange.ask

    def heard(*given, headers, **more):
        sent.append(headers)
        return ask(*given, headers=headers, **more)

    monkeypatch.setattr(service._exchange, "ask", heard)
    body = {"maa_endpoint": case.vault, "runtime_data": b64(DATA)}
    assert client.post("/attest/maa", body).status == 200
    assert [each["User-Agent"] for each in sent] == [USER_AGENT]


def test_a_service_that_refuses_is_quoted(case: Case, client: ForeignClient) -> None:
    body = {"maa_endpoint": case.vault, "runtime_data": b64(b"no JSON")}
    said = client.post("/attest/maa", body)
    assert (said.status, "is not JSON" in said.error) == (403, True)


BODIES = {
    "no JSON": (b"{", "is not JSON"),
    "a list": (b"[]", "is not a JSON object"),
    "a member twice": (b'{"runtime_data":"YQ==","runtime_data":"Yg=="}', "twice"),
    "nothing": (b"", "is not JSON"),
    "no runtime data": (b"{}", "runtime_data"),
    "empty runtime data": (b'{"runtime_data":""}', "runtime_data is empty"),
    "null": (b'{"runtime_data":null}', "runtime_data"),
    "a number": (b'{"runtime_data":7}', "runtime_data"),
    "no base64": (b'{"runtime_data":"!"}', "not standard base64"),
    "base64url": (b'{"runtime_data":"-_8="}', "not standard base64"),
    "no padding": (b'{"runtime_data":"YQ"}', "not standard base64"),
}


@pytest.mark.parametrize("path", ATTEST)
@pytest.mark.parametrize(("body", "words"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_not_understood(
    path: str, body: bytes, words: str, case: Case, client: ForeignClient
) -> None:
    if path == "/attest/maa" and body[:1] == b"{" and len(body) > 1:
        endpoint = f'{{"maa_endpoint":"{case.vault}"'.encode()
        body = endpoint + (b"," if len(body) > 2 else b"") + body[1:]
    said = client.ask("POST", path, body, {})
    assert said.status == 400
    assert words in said.error
    assert case.source.asked == []


def test_base64_may_be_broken_into_lines(case: Case, client: ForeignClient) -> None:
    text = base64.encodebytes(DATA * 10).decode().replace("\n", "\r\n")
    assert client.post("/attest/raw", {"runtime_data": text}).status == 200
    assert case.source.asked == [DATA * 10]


def test_members_of_later_versions_are_passed_over(client: ForeignClient) -> None:
    body = {"runtime_data": b64(DATA), "newer": {"a": 1}}
    assert client.post("/attest/raw", body).status == 200


@pytest.mark.parametrize("path", ATTEST)
def test_what_is_not_the_callers_is_asked_of_nobody(
    path: str, case: Case, client: ForeignClient
) -> None:
    body = {"maa_endpoint": case.vault, "runtime_data": b64(b'{"Keys":[]}')}
    said = client.post(path, body)
    assert (said.status, "member 'keys'" in said.error) == (403, True)
    assert case.source.asked == []


# ---- release


def test_a_key_comes_as_text_of_json(case: Case, client: ForeignClient) -> None:
    said = release(case, client)
    assert said.status == 200
    assert json.loads(said.json["key"]) == {"kty": "oct", "k": b64url(OCTETS)}


def test_a_callers_token_is_the_credential(case: Case, client: ForeignClient) -> None:
    assert release(case, client, access_token="any.token-at_all").status == 200


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "a" * 20_000, "\u00e9", "a===", 7])
def test_a_token_that_is_none(token: object, case: Case, client: ForeignClient) -> None:
    said = release(case, client, access_token=token)
    assert (said.status, "access_token" in said.error) == (400, True)
    assert case.source.asked == []


REFUSED = {
    "no vault": ({"akv_endpoint": None}, 400, "akv_endpoint"),
    "no service": ({"maa_endpoint": None}, 400, "maa_endpoint"),
    "no key": ({"kid": None}, 400, "kid"),
    "a vault as a URL": ({"akv_endpoint": "https://vault.example"}, 400, "without https://"),
    "a vault with a path": ({"akv_endpoint": "vault.example/keys"}, 400, "akv_endpoint"),
    "a vault with a user": ({"akv_endpoint": "u@127.0.0.1"}, 400, "akv_endpoint"),
    "a vault at another port": ({"akv_endpoint": "127.0.0.1:1"}, 403, "--vault names 127.0.0.1:"),
    "another vault": ({"akv_endpoint": "evil.example"}, 403, "--vault names"),
    "another service": ({"maa_endpoint": "evil.example"}, 403, "--attestation-service names"),
    "a key that is not named": ({"kid": "hidden"}, 403, "--key names foreign, none, octets, rsa"),
    "a key in other letters": ({"kid": "Octets"}, 403, "--key names"),
    "a key that is a path": ({"kid": "octets/../hidden"}, 400, "NAME or NAME/VERSION"),
    "a version that is none": ({"kid": "octets/latest"}, 400, "NAME or NAME/VERSION"),
    "a version nobody has": ({"kid": "octets/" + "0" * 32}, 403, "not found"),
    "a key nobody has": ({"kid": "none"}, 403, "not found"),
    "a key for another machine": ({"kid": "foreign"}, 403, "x-ms-sevsnpvm-hostdata"),
}


@pytest.mark.parametrize(("changes", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_each_thing_a_release_names(
    changes: dict[str, object], status: int, words: str, case: Case, client: ForeignClient
) -> None:
    said = release(case, client, **changes)
    assert said.status == status
    assert words in said.error
    reached = words in ("not found", "x-ms-sevsnpvm-hostdata")
    assert bool(case.source.asked) is reached
    assert [event for event, _ in case.log.kept] == [Event.REFUSED]


# ---- limits


def test_a_body_that_is_too_long(client: ForeignClient) -> None:
    said = client.ask("POST", "/attest/raw", b"x" * (MAX_BODY_BYTES + 1), {})
    assert (said.status, str(MAX_BODY_BYTES) in said.error) == (413, True)


def test_a_body_that_never_comes(client: ForeignClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "BODY_SECONDS", 0.2)
    host, _, port = client.address.rpartition(":")
    head = f"POST /attest/raw HTTP/1.1\r\nHost: {client.address}\r\nContent-Type: application/json"
    with socket.create_connection((host, int(port))) as peer:
        peer.sendall(f"{head}\r\nContent-Length: 10\r\n\r\n".encode())
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.count(b'{"error"') == 1


def test_so_many_at_once(
    case: Case, client: ForeignClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "WAIT_SECONDS", 0.2)
    going, gate = threading.Semaphore(0), threading.Event()
    evidence = case.source.evidence

    def slow(claims: bytes) -> Evidence:
        going.release()
        gate.wait()
        return evidence(claims)

    monkeypatch.setattr(case.source, "evidence", slow)
    body = {"runtime_data": b64(DATA)}
    with ThreadPoolExecutor(app.MAX_AT_ONCE) as pool:
        held = [pool.submit(client.post, "/attest/raw", body) for _ in range(app.MAX_AT_ONCE)]
        for _ in held:
            going.acquire()
        said = client.post("/attest/raw", body)
        gate.set()
        assert (said.status, "under way" in said.error) == (503, True)
        assert {each.result().status for each in held} == {200}
    assert client.post("/attest/raw", body).status == 200


def test_what_nobody_foresaw_is_told_without_its_words(
    case: Case, client: ForeignClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(claims: bytes) -> Evidence:
        raise KeyError("a secret")

    monkeypatch.setattr(case.source, "evidence", fail)
    said = client.post("/attest/raw", {"runtime_data": b64(DATA)})
    assert said.status == 500
    assert "a secret" not in said.error
    ((event, fields),) = case.log.kept
    assert event is Event.FAILED
    assert "unforeseen KeyError at test_app.py" in str(fields["error"])
    assert "a secret" not in str(fields)
