"""The client of an attestation service, against one that behaves and many that do not."""

from __future__ import annotations

import gzip
import json
from itertools import repeat

import pytest

from sealserve.attestation.token import MAX_JWKS_BYTES, MAX_TOKEN_BYTES
from sealserve.keys.attest import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    AttestationService,
    told_by,
)
from sealserve.keys.authority import Authority
from sealserve.native.errors import EvidenceError, ReleaseError, UnavailableError
from support.keys_server import Raw, Reply, serve
from support.ports import free_port

GOOD = Reply.of({"token": "a.b.c"})
SHORT = 0.6  # seconds: long for a loopback, short for whoever waits for the tests


@pytest.fixture
def evidence(machine):
    return machine.evidence(b"{}")


class Told:
    """A service whose server answers as it is told; keeps the pauses it was made to wait."""

    def __init__(self, ca, trusted, answer, *names, deadline_seconds=5.0):
        self.pauses = []
        self.server = serve(answer, ca, *names)
        self.service = AttestationService(
            self.server.url,
            tls=Authority(trusted.certificate).tls(),
            deadline_seconds=deadline_seconds,
            pause=self.pauses.append,
        )

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *error):
        self.service.close()
        self.server.__exit__(*error)


@pytest.fixture
def told(ca):
    """Make a service out of an answer."""
    opened = []

    def make(answer, *, trusted=ca, names=(), **options):
        opened.append(Told(ca, trusted, answer, *names, **options))
        return opened[-1].__enter__()

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def test_evidence_goes_in_and_a_token_comes_out(told, evidence):
    case = told(lambda request: GOOD)
    assert case.service.attest(evidence) == "a.b.c"
    (request,) = case.server.requests
    assert (request.method, request.path) == ("POST", "/attest/SevSnpVm")
    assert request.query == "api-version=2022-08-01"
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert request.json.keys() == {"report", "runtimeData"}


def test_keys_come_from_where_the_issuer_is(told):
    case = told(lambda request: Reply.of({"keys": []}))
    case.service.keys(f"{case.server.url}/simulated")
    assert [each.path for each in case.server.requests] == ["/simulated/certs"]


NO_TOKEN = {
    "nothing": b"",
    "no JSON": b"<html>",
    "a list": b"[]",
    "text": b'"a.b.c"',
    "an object without a token": b"{}",
    "a token that is a number": b'{"token": 7}',
    "no token": b'{"token": null}',
    "not UTF-8": b'{"token": "\xff"}',
    "beyond any stack": b"[" * 60_000,
    "packed": gzip.compress(b'{"token": "a.b.c"}'),
}


@pytest.mark.parametrize("body", NO_TOKEN.values(), ids=NO_TOKEN)
def test_an_answer_without_a_token(body, told, evidence):
    with pytest.raises(ReleaseError, match="without a token"):
        told(lambda request: Reply(200, body)).service.attest(evidence)


def test_a_packed_answer_is_not_unpacked(told, evidence):
    bomb = gzip.compress(bytes(10**7))
    case = told(lambda request: Reply(200, bomb, {"Content-Encoding": "gzip"}))
    with pytest.raises(ReleaseError):
        case.service.attest(evidence)
    assert case.server.requests[0].headers["accept-encoding"] == "identity"


def endless():
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    yield from repeat(b"x" * 65536)


@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_answer_is_not_read(announced, told, evidence):
    huge = Reply(200, b" " * (MAX_TOKEN_BYTES + 65)) if announced else Raw(endless())
    with pytest.raises(ReleaseError, match=f"more than {MAX_TOKEN_BYTES + 64} bytes"):
        told(lambda request: huge).service.attest(evidence)


def test_a_huge_set_of_keys_is_not_read(told):
    case = told(lambda request: Raw(endless()))
    with pytest.raises(ReleaseError, match=f"more than {MAX_JWKS_BYTES} bytes"):
        case.service.keys(case.server.url)


def test_keys_that_are_none(told):
    case = told(lambda request: Reply.of({"keys": 7}))
    with pytest.raises(EvidenceError, match="keys"):
        case.service.keys(case.server.url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status, told, evidence):
    elsewhere = told(lambda request: GOOD)
    case = told(lambda request: Reply(status, b"", {"Location": elsewhere.server.url}))
    with pytest.raises(ReleaseError, match=f"HTTP {status}"):
        case.service.attest(evidence)
    assert elsewhere.server.connections == 0
    assert len(case.server.requests) == 1


REFUSALS = {
    "with a reason": (b'{"error": {"code": "X", "message": "the report is too old"}}', "too old"),
    "without a reason": (b"", "no reason given"),
    "with something else": (b"[1, 2]", "no reason given"),
    "with a reason that is an object": (b'{"error": {"message": {"a": 1}}}', "a"),
    "with a long reason": (json.dumps({"error": {"message": "x" * 9000}}).encode(), "x" * 1000),
}


@pytest.mark.parametrize(("body", "said"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_says_who_and_why_and_is_not_repeated(status, body, said, told, evidence):
    case = told(lambda request: Reply(status, body))
    with pytest.raises(ReleaseError) as caught:
        case.service.attest(evidence)
    assert said in caught.value.denied
    assert case.server.url in caught.value.denied
    assert f"HTTP {status}" in caught.value.message
    assert len(caught.value.message) < 2500
    assert len(case.server.requests) == 1
    assert not case.pauses


def test_a_strangers_words_cannot_write_on_the_terminal():
    body = json.dumps({"error": {"message": "red \x1b[31m\x07\u202e end"}}).encode()
    assert told_by(body) == r"red \x1b[31m\x07\u202e end"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_not_now_is_asked_again(status, told, evidence):
    answers = iter([Reply(status), Reply(status), GOOD])
    case = told(lambda request: next(answers))
    assert case.service.attest(evidence) == "a.b.c"
    first, second = case.pauses
    assert 0.5 <= first / FIRST_PAUSE_SECONDS <= 1.5  # spread, so that many do not come at once
    assert 1.0 <= second / FIRST_PAUSE_SECONDS <= 3.0  # twice as long, spread as well


def test_a_service_is_given_the_time_it_asks_for(told, evidence):
    answers = iter([Reply(429, b"", {"Retry-After": "3"}), GOOD])
    case = told(lambda request: next(answers))
    assert case.service.attest(evidence) == "a.b.c"
    assert case.pauses == [3.0]


def test_a_longer_pause_than_there_is_time_for_ends_at_once(told, evidence):
    case = told(lambda request: Reply(503, b"", {"Retry-After": "99999"}))
    with pytest.raises(UnavailableError) as caught:
        case.service.attest(evidence)
    assert caught.value.retry_after_seconds == 99999
    assert not case.pauses


@pytest.mark.parametrize(
    "wish", ["-1", "soon", "1e9", "9" * 400, "²", "Wed, 21 Oct 2026 07:28:00 GMT"]
)
def test_a_pause_nobody_can_mean_is_passed_over(wish, told, evidence):
    answers = iter([Reply(503, b"", {"Retry-After": wish}), GOOD])
    case = told(lambda request: next(answers))
    assert case.service.attest(evidence) == "a.b.c"
    assert 0 < case.pauses[0] <= LONGEST_PAUSE_SECONDS


def test_never_now_ends_with_the_deadline(told, evidence):
    with pytest.raises(UnavailableError, match="HTTP 503"):
        told(lambda request: Reply(503), deadline_seconds=0.1).service.attest(evidence)


def test_the_reason_for_not_now_is_told(told, evidence):
    full = Reply.of({"error": {"message": "the disk is full"}}, 503)
    with pytest.raises(UnavailableError, match="HTTP 503: the disk is full"):
        told(lambda request: full, deadline_seconds=0.1).service.attest(evidence)


def test_silence_ends_with_the_deadline(told, evidence):
    case = told(lambda request: case.server.silence(), deadline_seconds=SHORT)
    with pytest.raises(UnavailableError, match="does not answer"):
        case.service.attest(evidence)


SLOW = {
    "the status line": [b"HTTP/1.1 200 OK" + b" " * 10**6],
    "the headers": [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6],
    "the body": [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x" * 9999],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
def test_an_answer_in_single_bytes_ends_with_the_deadline(pieces, told, evidence):
    case = told(lambda request: case.server.dribble(pieces), deadline_seconds=SHORT)
    with pytest.raises(UnavailableError, match="did not finish its answer in time"):
        case.service.attest(evidence)


BROKEN = {
    "nothing": [],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "a cut header": [b"HTTP/1.1 200 OK\r\nContent-"],
    "a cut body": [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"],
    "a chunk of no length": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
}


@pytest.mark.parametrize("pieces", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_is_none(pieces, told, evidence):
    case = told(lambda request: Raw(pieces), deadline_seconds=0.1)
    with pytest.raises(UnavailableError, match="does not answer"):
        case.service.attest(evidence)


def test_nobody_there(ca, evidence):
    service = AttestationService(
        f"https://127.0.0.1:{free_port()}",
        tls=Authority(ca.certificate).tls(),
        deadline_seconds=0.1,
    )
    with pytest.raises(UnavailableError, match="does not answer: connection refused") as caught:
        service.attest(evidence)
    assert "sealserve trustd run" in caught.value.hint
    service.close()


def test_another_authority_hears_nothing(told, other_ca, evidence):
    case = told(lambda request: GOOD, trusted=other_ca, deadline_seconds=0.1)
    with pytest.raises(ReleaseError, match="a certificate of another authority than"):
        case.service.attest(evidence)
    assert not case.pauses
    assert case.server.requests == []


def test_a_certificate_for_another_host_hears_nothing(told, evidence):
    case = told(lambda request: GOOD, names=("127.0.0.2",), deadline_seconds=0.1)
    with pytest.raises(ReleaseError, match="a certificate we refuse: IP address mismatch"):
        case.service.attest(evidence)
    assert case.server.requests == []


def test_the_environment_has_no_say(told, other_ca, evidence, monkeypatch, tmp_path):
    elsewhere = told(lambda request: GOOD)
    (tmp_path / "ca.pem").write_bytes(other_ca.pem)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, elsewhere.server.url)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
    case = told(lambda request: GOOD)
    assert case.service.attest(evidence) == "a.b.c"
    assert elsewhere.server.connections == 0
