"""Who may call: what the file may say, and what a caller without a token meets."""

from __future__ import annotations

import datetime
import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server.callers import CallerError, admit, callers_of
from sealserve.inference.server.config import Caller, Callers
from sealserve.inference.wire import names
from sealserve.native.errors import ConfigError
from support.attestation_simulated import machine_of
from support.client_authority import Authority, Issued
from support.server_case import CALL_SECONDS, NO_LIMITS, PINNED, Served, doubler, infer_request

TOKEN = "mF_9.B5f-4.1JqM"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
OTHER = hashlib.sha256(b"another token").hexdigest()
CALLERS = Callers(tokens=(Caller("clinic", OTHER), Caller("hospital", DIGEST, "2027-03-31")))
DAY = datetime.date(2027, 3, 31)
GOOD = f'version = 1\n[callers.clinic]\ntoken_sha256 = "{DIGEST}"\n'
DOUBLING = infer_request("doubler", ("x", "FP32", (1, 3), bytes(12)))


def load(text: str | bytes, sha256: str | None = None) -> Callers:
    data = text.encode() if isinstance(text, str) else text
    digest = hashlib.sha256(data).hexdigest() if sha256 is None else sha256
    return callers_of(data, digest, file="callers.toml")


# ---- the file


def test_a_file_names_callers_by_their_tokens() -> None:
    text = GOOD + f'[callers."st. mary"]\ntoken_sha256 = "{OTHER}"\nexpires = 2027-03-31\n'
    assert load(text) == Callers(
        tokens=(Caller("clinic", DIGEST), Caller("st. mary", OTHER, "2027-03-31"))
    )
    assert load(text).who == "tokens"


def caller(line: str) -> str:
    return f"version = 1\n[callers.clinic]\n{line}\n"


BAD_FILES = {
    "empty": "",
    "no version": GOOD.replace("version = 1\n", ""),
    "another version": GOOD.replace("= 1", "= 2"),
    "not TOML": "version = 1\n[callers\n",
    "no callers": "version = 1\n",
    "nobody": "version = 1\n[callers]\n",
    "callers not a table": "version = 1\ncallers = 3\n",
    "a caller that is no table": "version = 1\n[callers]\nclinic = 3\n",
    "no digest": "version = 1\n[callers.clinic]\n",
    "the token itself": caller(f'token = "{TOKEN}"'),
    "a short digest": caller(f'token_sha256 = "{DIGEST[:-2]}"'),
    "a long digest": caller(f'token_sha256 = "{DIGEST}00"'),
    "a digest in upper case": caller(f'token_sha256 = "{DIGEST.upper()}"'),
    "the digest of nothing": caller(f'token_sha256 = "{hashlib.sha256().hexdigest()}"'),
    "a time and no date": caller(f'token_sha256 = "{DIGEST}"\nexpires = 2027-03-31T00:00:00'),
    "a date as text": caller(f'token_sha256 = "{DIGEST}"\nexpires = "2027-03-31"'),
    "unknown key": caller(f'token_sha256 = "{DIGEST}"\nexpire = 2027-03-31'),
    "unknown table": GOOD + "[limits]\n",
    "two with one token": GOOD + f'[callers.other]\ntoken_sha256 = "{DIGEST}"\n',
    "no certificate in PEM": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_says_anything_else(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(text)
    assert refused.value.file == "callers.toml"
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("sha256", ["", "00" * 32])
def test_a_file_of_another_digest_is_not_even_parsed(sha256: str) -> None:
    with pytest.raises(ConfigError, match="--callers-sha256"):
        load("this is not TOML", sha256)


# ---- the token


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


@pytest.mark.parametrize(
    "metadata",
    [
        [bearer(TOKEN)],
        [("authorization", f"bearer {TOKEN}")],
        [("user-agent", "any"), bearer(TOKEN)],
        [bearer("another token")],
    ],
    ids=["as it should be", "in lower case", "beside others", "another caller"],
)
def test_a_caller_with_a_token_comes_in(metadata: Any) -> None:
    admit(CALLERS, metadata, lambda: DAY)


STRANGERS: dict[str, list[tuple[str, str | bytes]]] = {
    "nothing": [],
    "another key": [("authorisation", f"Bearer {TOKEN}")],
    "another token": [bearer(TOKEN + "x")],
    "the beginning of a token": [bearer(TOKEN[:-1])],
    "no token": [bearer("")],
    "no scheme": [("authorization", TOKEN)],
    "another scheme": [("authorization", f"Basic {TOKEN}")],
    "its digest": [bearer(DIGEST)],
    "two tokens": [bearer(TOKEN), bearer(TOKEN)],
    "a space more": [bearer(f" {TOKEN}")],
    "a long token": [bearer(TOKEN * 1000)],
    "bytes": [("authorization", f"Bearer {TOKEN}".encode())],
    "not ASCII": [bearer("Grüße")],
}


@pytest.mark.parametrize("metadata", STRANGERS.values(), ids=STRANGERS.keys())
def test_everybody_else_is_told_the_same(metadata: Any) -> None:
    with pytest.raises(CallerError, match="this server wants the token of a caller") as refused:
        admit(CALLERS, metadata, lambda: DAY)
    assert TOKEN not in str(refused.value)


def test_a_token_is_good_until_the_end_of_its_last_day() -> None:
    with pytest.raises(CallerError, match="this server wants the token"):
        admit(CALLERS, [bearer(TOKEN)], lambda: DAY + datetime.timedelta(days=1))
    admit(CALLERS, [bearer("another token")], lambda: DAY + datetime.timedelta(days=10_000))


@given(st.lists(st.tuples(st.sampled_from(["authorization", "x"]), st.text() | st.binary())))
def test_no_metadata_raises_anything_else(metadata: Any) -> None:
    with pytest.raises(CallerError):
        admit(CALLERS, metadata, lambda: DAY)


def test_every_caller_is_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    admit(CALLERS, [bearer("another token")], lambda: DAY)
    assert compared == [OTHER, DIGEST]


# ---- at the door of a server


@pytest.fixture(scope="module")
def machine(simulated_root: SimulatedRoot) -> Machine:
    return machine_of(simulated_root)


@pytest.fixture(scope="module")
def served(machine: Machine) -> Iterator[Served]:
    tokens = Callers(tokens=(Caller("clinic", DIGEST),))
    with Served(machine, doubler(), callers=tokens) as server:
        yield server


def begin(server: Served, path: str, message: bytes, *metadata: tuple[str, str]) -> Any:
    method = server.channel.unary_unary(path)
    return method.future(message, timeout=CALL_SECONDS, metadata=metadata)


ASKS = [
    names.MODEL_INFER,
    names.MODEL_METADATA,
    names.MODEL_READY,
    names.MODEL_CONFIG,
    names.MODEL_STATISTICS,
    names.REPOSITORY_INDEX,
    names.REPOSITORY_MODEL_LOAD,
    names.SERVER_METADATA,
]


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("metadata", [(), (bearer("wrong"),)], ids=["no token", "a wrong one"])
def test_a_stranger_is_turned_away_whatever_it_sends(
    served: Served, path: str, metadata: Any
) -> None:
    for message in (b"", b"\xff" * 40, DOUBLING.SerializeToString()):
        call = begin(served, path, message, *metadata)
        assert call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert call.details() == "this server wants the token of a caller that it knows"
        assert names.MODEL_ROOT_KEY not in dict(call.trailing_metadata())


def test_a_stranger_is_turned_away_before_its_message_came(served: Served) -> None:
    stop = threading.Event()

    def nothing() -> Iterator[bytes]:
        stop.wait(CALL_SECONDS)
        yield from ()

    call = served.channel.stream_unary(names.MODEL_INFER).future(nothing(), timeout=CALL_SECONDS)
    assert call.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not stop.is_set()
    stop.set()


def test_a_stream_asks_too(served: Served) -> None:
    stream = served.channel.stream_stream(names.MODEL_STREAM_INFER)
    with pytest.raises(grpc.RpcError) as refused:
        list(stream(iter([DOUBLING.SerializeToString()]), timeout=CALL_SECONDS))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    answers = list(
        stream(iter([DOUBLING.SerializeToString()]), timeout=CALL_SECONDS, metadata=[bearer(TOKEN)])
    )
    assert len(answers) == 1


def test_a_caller_gets_its_answer(served: Served) -> None:
    message = DOUBLING.SerializeToString()
    assert begin(served, names.MODEL_INFER, message, bearer(TOKEN)).result()


def test_evidence_and_health_are_for_everybody(served: Served) -> None:
    begin(served, names.GET_EVIDENCE, b"\x0a\x20" + bytes(32)).result()
    begin(served, names.SERVER_LIVE, b"").result()
    begin(served, names.SERVER_READY, b"").result()
    health = health_pb2_grpc.HealthStub(served.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS).status == 1


def test_who_may_call_is_one_word() -> None:
    assert [each.who for each in (Callers(), CALLERS)] == ["anyone", "tokens"]


# ---- certificates


def channel_of(server: Served, client: Issued) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        server.identity.certificate_pem, client.key, client.chain
    )
    own = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(server.target, credentials, [*PINNED, *NO_LIMITS, *own])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_a_file_may_be_the_certificate_of_an_authority(authority: Authority) -> None:
    callers = load(authority.own)
    assert callers == Callers(client_ca=authority.own.decode())
    assert callers.who == "certificates"
    assert load(b"\n" + authority.own) == callers


def test_two_authorities_are_refused(authority: Authority) -> None:
    with pytest.raises(ConfigError, match="2 certificates"):
        load(authority.own * 2)


def test_only_clients_of_the_authority_get_through_a_handshake(
    machine: Machine, authority: Authority
) -> None:
    client = authority.issue()
    with Served(machine, doubler(), callers=load(authority.own)) as server:
        with channel_of(server, client) as channel:
            message = DOUBLING.SerializeToString()
            assert channel.unary_unary(names.MODEL_INFER)(message, timeout=CALL_SECONDS)
            server.identity.rotate()
        with channel_of(server, client) as channel:  # after a rotation too
            assert channel.unary_unary(names.SERVER_LIVE)(b"", timeout=CALL_SECONDS)
        for stranger in (server.connect(), channel_of(server, Authority().issue())):
            call = stranger.unary_unary(names.SERVER_LIVE).future(b"", timeout=CALL_SECONDS)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            stranger.close()
