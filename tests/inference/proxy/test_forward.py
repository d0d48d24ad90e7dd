"""What goes through a proxy, what does not, and what a local program is told."""

from __future__ import annotations

import queue
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client.clock import MAX_EVIDENCE_AGE_SECONDS
from sealserve.inference.proxy import app, forward
from sealserve.inference.proxy.app import Limits
from sealserve.inference.proxy.place import Place
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.infer import InferRequest, decode_response, encode_request
from sealserve.inference.wire.tensor import Tensor
from sealserve.native.errors import PolicyViolation, UnavailableError
from support import client_case as case
from support.client_server import MODEL, LiveServer, Relay, eventually, failing
from support.ports import free_port
from support.proxies import LocalProxy

Code = grpc.StatusCode
ROWS = np.array([[1.0, 2.0, 3.0]], "<f4")
ASK = encode_request(InferRequest(MODEL, "", (Tensor("x", "FP32", (1, 3), ROWS),), id="77"))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def server(simulated_root: SimulatedRoot) -> Iterator[LiveServer]:
    with case.live(case.machine(simulated_root)) as live:
        yield live


@pytest.fixture
def proxy(server: LiveServer, simulated_root: SimulatedRoot) -> Iterator[LocalProxy]:
    with LocalProxy(server.target, case.trust(simulated_root)) as local:
        yield local


def refused(proxy: LocalProxy, path: str, message: Any = b"", **options: Any) -> Any:
    """The error of a call that has no answer."""
    with pytest.raises(grpc.RpcError) as caught:
        proxy.call(path, message, **options)
    return caught.value


# ---- what goes through


def test_a_prediction(server: LiveServer, proxy: LocalProxy) -> None:
    answer = proxy.start(names.MODEL_INFER, ASK)
    response = decode_response(answer.result())
    assert (response.model, response.id) == (MODEL, "77")
    by_name = {output.name: output.data.tolist() for output in response.outputs}
    assert by_name == {"twice": [[2.0, 4.0, 6.0]], "rows": [1]}
    assert (names.MODEL_ROOT_KEY, case.ROOT.hex()) in answer.trailing_metadata()


def test_a_message_arrives_as_it_was_sent(
    simulated_root: SimulatedRoot,
) -> None:
    """And so does the answer, whatever it is: the proxy reads neither."""
    strange = ASK + b"\xc2\x3e\x03abc"  # a field that nobody knows
    rewrites = {names.MODEL_INFER: lambda data, _: b"no protobuf at all"}
    with (
        case.live(case.machine(simulated_root), rewrites=rewrites) as server,
        LocalProxy(server.target, case.trust(simulated_root)) as proxy,
    ):
        assert proxy.call(names.MODEL_INFER, strange) == b"no protobuf at all"
        assert (names.MODEL_INFER, len(strange)) in server.record.calls


def test_the_other_calls(proxy: LocalProxy) -> None:
    assert pb.ServerLiveResponse.FromString(proxy.call(names.SERVER_LIVE)).live
    assert pb.ServerReadyResponse.FromString(proxy.call(names.SERVER_READY)).ready
    told = pb.ServerMetadataResponse.FromString(proxy.call(names.SERVER_METADATA))
    assert told.name == "sealserve"
    ready = proxy.call(names.MODEL_READY, pb.ModelReadyRequest(name=MODEL))
    assert pb.ModelReadyResponse.FromString(ready).ready
    model = proxy.call(names.MODEL_METADATA, pb.ModelMetadataRequest(name=MODEL))
    assert pb.ModelMetadataResponse.FromString(model).inputs[0].name == "x"


def test_a_version_that_is_not_there_is_not_ready(proxy: LocalProxy) -> None:
    request = pb.ModelReadyRequest(name=MODEL, version="99")
    ready = proxy.call(names.MODEL_READY, request)
    assert not pb.ModelReadyResponse.FromString(ready).ready


@pytest.mark.parametrize(
    "path",
    [
        names.REPOSITORY_MODEL_LOAD,
        names.REPOSITORY_MODEL_UNLOAD,
        names.GET_EVIDENCE,
        "/inference.GRPCInferenceService/SystemSharedMemoryRegister",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/x/y",
    ],
)
def test_calls_that_stay_here(server: LiveServer, proxy: LocalProxy, path: str) -> None:
    before = list(server.record.calls)
    assert refused(proxy, path).code() is Code.UNIMPLEMENTED
    assert [call for call in server.record.calls if call[0] == path] == [
        call for call in before if call[0] == path
    ]


def test_no_header_of_a_local_program_goes_along(simulated_root: SimulatedRoot) -> None:
    seen: list[tuple[str, str]] = []

    def note(data: bytes, context: Any) -> bytes:
        seen.extend(context.invocation_metadata())
        return data

    rewrites = {names.MODEL_INFER: note}
    with (
        case.live(case.machine(simulated_root), rewrites=rewrites) as server,
        LocalProxy(server.target, case.trust(simulated_root), token="of-the-proxy") as proxy,
    ):
        metadata = (
            ("authorization", "Bearer of-a-program"),
            ("x-trace", "patient-7"),
            (names.MODEL_ROOT_KEY, case.OTHER.hex()),
        )
        proxy.call(names.MODEL_INFER, ASK, metadata=metadata)
    known = {key: value for key, value in seen if key != "user-agent"}
    assert known == {
        names.MODEL_ROOT_KEY: case.ROOT.hex(),
        "authorization": "Bearer of-the-proxy",
    }


def test_replicas_share_the_calls(simulated_root: SimulatedRoot, server: LiveServer) -> None:
    with (
        case.live(case.machine(simulated_root)) as other,
        LocalProxy(f"{server.target},{other.target}", case.trust(simulated_root)) as proxy,
    ):
        assert proxy.ready.line() == (
            f"ready: proxy on {proxy.ready.place} for 2 of 2 replicas;"
            f" models {MODEL}; platform simulated"
        )
        for _ in range(4):
            proxy.call(names.MODEL_INFER, ASK)
        assert server.record.count(names.MODEL_INFER) == 2
        assert other.record.count(names.MODEL_INFER) == 2


def test_a_unix_socket_is_of_its_user_alone(
    server: LiveServer, simulated_root: SimulatedRoot, tmp_path: Path
) -> None:
    place = Place(path=str(tmp_path / "proxy.socket"))
    with LocalProxy(server.target, case.trust(simulated_root), place=place) as proxy:
        assert stat.S_IMODE(Path(place.path).stat().st_mode) == 0o600
        proxy.call(names.MODEL_INFER, ASK)
        with pytest.raises(UnavailableError, match="cannot listen on unix:"):
            LocalProxy(server.target, case.trust(simulated_root), place=place)
        proxy.call(names.MODEL_INFER, ASK)


def test_a_port_that_is_taken(
    server: LiveServer, simulated_root: SimulatedRoot, proxy: LocalProxy
) -> None:
    host, port = proxy.ready.place.split(":")
    with pytest.raises(UnavailableError, match=f"cannot listen on {host}:{port}"):
        LocalProxy(server.target, case.trust(simulated_root), place=Place(host, int(port)))


# ---- what does not


def test_nothing_listens_before_a_server_is_verified(simulated_root: SimulatedRoot) -> None:
    place = Place("127.0.0.1", free_port())
    with case.live(case.machine(simulated_root, "debug")) as bad, pytest.raises(PolicyViolation):
        LocalProxy(bad.target, case.trust(simulated_root), place=place)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.host, place.port))


def test_a_model_nobody_approved(server: LiveServer, proxy: LocalProxy) -> None:
    server.record.calls.clear()
    for path, message in (
        (names.MODEL_INFER, pb.ModelInferRequest(model_name="lung", raw_input_contents=[b"x"])),
        (names.MODEL_METADATA, pb.ModelMetadataRequest(name="lung")),
        (names.MODEL_READY, pb.ModelReadyRequest(name="lung")),
    ):
        error = refused(proxy, path, message)
        assert error.code() is Code.PERMISSION_DENIED
        assert "lung" in error.details()
    assert [method for method, _ in server.record.calls if method != names.SERVER_LIVE] == []


def test_a_model_that_was_exchanged(server: LiveServer, proxy: LocalProxy) -> None:
    server.serve_instead(case.OTHER)
    error = refused(proxy, names.MODEL_INFER, ASK)
    assert error.code() is Code.FAILED_PRECONDITION
    assert case.OTHER.hex() in error.details()  # the server's own words


def test_an_answer_of_another_root(simulated_root: SimulatedRoot) -> None:
    def other(data: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(((names.MODEL_ROOT_KEY, case.OTHER.hex()),))
        return data

    with (
        case.live(case.machine(simulated_root), rewrites={names.MODEL_INFER: other}) as server,
        LocalProxy(server.target, case.trust(simulated_root)) as proxy,
    ):
        assert refused(proxy, names.MODEL_INFER, ASK).code() is Code.PERMISSION_DENIED


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x10\x01" * 2000, b"\x0a\x01\xff"])
def test_what_is_no_message_does_not_get_far(
    server: LiveServer, proxy: LocalProxy, data: bytes
) -> None:
    assert refused(proxy, names.MODEL_INFER, data).code() is Code.INVALID_ARGUMENT
    assert server.record.count(names.MODEL_INFER) == 0


def test_a_message_that_is_too_long(server: LiveServer, simulated_root: SimulatedRoot) -> None:
    limits = Limits(message_bytes=1024, drain_seconds=1.0)
    with LocalProxy(server.target, case.trust(simulated_root), limits=limits) as proxy:
        assert refused(proxy, names.MODEL_INFER, ASK + bytes(2048)).code() is (
            Code.RESOURCE_EXHAUSTED
        )
        proxy.call(names.MODEL_INFER, ASK)


def test_more_calls_than_there_is_room_for(
    server: LiveServer, simulated_root: SimulatedRoot
) -> None:
    limits = Limits(calls=1, drain_seconds=1.0)
    with LocalProxy(server.target, case.trust(simulated_root), limits=limits) as proxy:
        server.model.gate.clear()
        waiting = proxy.start(names.MODEL_INFER, ASK)
        assert server.model.started.wait(10)
        assert refused(proxy, names.MODEL_INFER, ASK).code() is Code.RESOURCE_EXHAUSTED
        server.model.gate.set()
        waiting.result()


STATUSES = [
    (Code.RESOURCE_EXHAUSTED, "250"),
    (Code.UNAVAILABLE, "60000"),
    (Code.INVALID_ARGUMENT, None),
    (Code.UNAUTHENTICATED, None),
    (Code.INTERNAL, None),
    (Code.DEADLINE_EXCEEDED, None),
]


@pytest.mark.parametrize(("code", "pushback"), STATUSES, ids=lambda value: str(value))
def test_a_servers_status_keeps_its_words(
    simulated_root: SimulatedRoot, code: grpc.StatusCode, pushback: str | None
) -> None:
    rewrites = {names.MODEL_INFER: failing(code, times=99, pushback=pushback)}
    with (
        case.live(case.machine(simulated_root), rewrites=rewrites) as server,
        LocalProxy(server.target, case.trust(simulated_root)) as proxy,
    ):
        error = refused(proxy, names.MODEL_INFER, ASK)
    assert (error.code(), error.details()) == (code, "on purpose")
    told = dict(error.trailing_metadata() or ())
    assert told.get(names.RETRY_PUSHBACK_KEY) == pushback


# ---- replicas that go and come


def test_unavailable_is_asked_elsewhere_and_nothing_else_is(
    simulated_root: SimulatedRoot, server: LiveServer
) -> None:
    rewrites = {names.MODEL_INFER: failing(Code.UNAVAILABLE, times=99, pushback="60000")}
    with (
        case.live(case.machine(simulated_root), rewrites=rewrites) as draining,
        LocalProxy(f"{draining.target},{server.target}", case.trust(simulated_root)) as proxy,
    ):
        for _ in range(3):
            proxy.call(names.MODEL_INFER, ASK)
        assert draining.record.count(names.MODEL_INFER) > 0
    assert server.record.count(names.MODEL_INFER) == 3


def test_health_is_what_is_verified_now(
    simulated_root: SimulatedRoot, server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_LOOK_SECONDS", 0.02)
    with (
        case.live(case.machine(simulated_root, "debug")) as bad,
        Relay(server.port) as relay,
        LocalProxy(relay.target, case.trust(simulated_root)) as proxy,
    ):
        assert proxy.health() == proxy.health(names.INFERENCE_SERVICE) == SERVING
        relay.route = bad.port  # another machine has the address now
        relay.hang_up()
        eventually(lambda: proxy.health() == NOT_SERVING)
        assert proxy.health(names.INFERENCE_SERVICE) == NOT_SERVING
        assert refused(proxy, names.MODEL_INFER, ASK).code() is Code.PERMISSION_DENIED
        assert bad.record.prediction_bytes == 0
        relay.route = server.port
        eventually(lambda: proxy.health() == SERVING)
        proxy.call(names.MODEL_INFER, ASK)


def test_replicas_are_at_the_addresses_a_name_has_now(
    simulated_root: SimulatedRoot, server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(app, "_LOOK_UP_SECONDS", 0.0)
    ports = [server.port]
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "replicas.test":
            return real(host, *arguments, **options)
        if not ports:
            raise socket.gaierror(socket.EAI_NONAME, "nobody")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", one)) for one in ports]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with (
        case.live(case.machine(simulated_root)) as other,
        LocalProxy("dns:///replicas.test", case.trust(simulated_root)) as proxy,
    ):

        def attested() -> list[str]:
            return [one.target for one in proxy.pool.replicas if one.verdict]

        assert attested() == [server.target]
        ports[:] = [other.port]
        eventually(lambda: attested() == [other.target])
        proxy.call(names.MODEL_INFER, ASK)
        assert other.record.count(names.MODEL_INFER) == 1
        ports.clear()  # a resolver that fails changes nothing
        before = other.record.count(names.SERVER_LIVE)
        eventually(lambda: other.record.count(names.SERVER_LIVE) > before)
        assert attested() == [other.target]


def test_the_end_lets_calls_end(server: LiveServer, proxy: LocalProxy) -> None:
    server.model.gate.clear()
    asked = proxy.start(names.MODEL_INFER, ASK)
    assert server.model.started.wait(10)
    stopping = threading.Thread(target=proxy.loop.run, args=(proxy.proxy.stop(),))
    stopping.start()
    server.model.gate.set()
    assert decode_response(asked.result()).model == MODEL
    stopping.join(10)


def test_a_local_program_that_goes_takes_its_call_along(
    simulated_root: SimulatedRoot, server: LiveServer, proxy: LocalProxy
) -> None:
    server.model.gate.clear()
    asked = proxy.start(names.MODEL_INFER, ASK)
    assert server.model.started.wait(10)
    asked.cancel()
    eventually(lambda: all(s.session.uses.count == 0 for s in proxy.pool.roster.seats))
    server.model.gate.set()


# ---- streams


async def echo(_requests: Any, context: Any) -> None:
    """Answers each message with itself and the roots that the stream named."""
    named = [v for k, v in context.invocation_metadata() if k == names.MODEL_ROOT_KEY]
    while (message := await context.read()) is not grpc.aio.EOF:
        context.set_trailing_metadata(((names.MODEL_ROOT_KEY, case.ROOT.hex()),))
        await context.write(message + ",".join(named).encode())


def streaming(simulated_root: SimulatedRoot, stream: Any = echo) -> LiveServer:
    return case.live(case.machine(simulated_root), stream=stream)


class Stream:
    """A local program's stream: one message at a time."""

    def __init__(self, proxy: LocalProxy) -> None:

        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.call = proxy.channel.stream_stream(names.MODEL_STREAM_INFER)(
            iter(self._queue.get, None), timeout=10.0
        )

    def send(self, data: bytes | None) -> None:
        self._queue.put(data)


def test_a_stream_answers_while_it_is_open(simulated_root: SimulatedRoot) -> None:
    with (
        streaming(simulated_root) as server,
        LocalProxy(server.target, case.trust(simulated_root)) as proxy,
    ):
        stream = Stream(proxy)
        for number in range(3):
            message = ASK + bytes([0x12, 1, 0x30 + number])  # other versions
            stream.send(message)
            assert next(stream.call) == message + case.ROOT.hex().encode()
        stream.send(None)
        assert list(stream.call) == []
        assert stream.call.code() is Code.OK
        assert (names.MODEL_ROOT_KEY, case.ROOT.hex()) in stream.call.trailing_metadata()


def test_a_stream_about_a_model_nobody_approved(simulated_root: SimulatedRoot) -> None:
    """It goes to a server that is attested, but under no root of that model's."""
    with (
        streaming(simulated_root) as server,
        LocalProxy(server.target, case.trust(simulated_root)) as proxy,
    ):
        stream = Stream(proxy)
        other = pb.ModelInferRequest(model_name="lung").SerializeToString()
        stream.send(other)
        assert next(stream.call) == other + case.ROOT.hex().encode()
        stream.send(None)


def test_a_stream_that_a_server_ends_keeps_its_words(simulated_root: SimulatedRoot) -> None:
    async def fail(_requests: Any, context: Any) -> None:
        await context.read()
        await context.abort(Code.FAILED_PRECONDITION, "another root")

    with (
        streaming(simulated_root, fail) as server,
        LocalProxy(server.target, case.trust(simulated_root)) as proxy,
    ):
        stream = Stream(proxy)
        stream.send(ASK)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream.call)
        stream.send(None)
    assert (caught.value.code(), caught.value.details()) == (
        Code.FAILED_PRECONDITION,
        "another root",
    )


def test_a_stream_of_another_root_is_told(simulated_root: SimulatedRoot) -> None:
    async def other(_requests: Any, context: Any) -> None:
        await context.read()
        context.set_trailing_metadata(((names.MODEL_ROOT_KEY, case.OTHER.hex()),))

    with (
        streaming(simulated_root, other) as server,
        LocalProxy(server.target, case.trust(simulated_root)) as proxy,
    ):
        stream = Stream(proxy)
        stream.send(ASK)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream.call)
        stream.send(None)
    assert caught.value.code() is Code.PERMISSION_DENIED


def test_a_stream_ends_where_the_evidence_gets_too_old(simulated_root: SimulatedRoot) -> None:
    with (
        streaming(simulated_root) as server,
        LocalProxy(server.target, case.trust(simulated_root)) as proxy,
    ):
        stream = Stream(proxy)
        stream.send(ASK)
        next(stream.call)
        session = proxy.pool.roster.seats[0].session
        object.__setattr__(session, "asked_at", session.asked_at - MAX_EVIDENCE_AGE_SECONDS - 1)
        stream.send(ASK)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream.call)
        stream.send(None)
    assert (caught.value.code(), caught.value.details()) == forward._OLD[:2]


def test_a_stream_that_breaks_is_not_begun_again(
    simulated_root: SimulatedRoot, server: LiveServer
) -> None:
    with (
        streaming(simulated_root) as first,
        streaming(simulated_root) as second,
        Relay(first.port) as relay,
        LocalProxy(f"{relay.target},{second.target}", case.trust(simulated_root)) as proxy,
    ):
        streams = [Stream(proxy) for _ in range(2)]
        for stream in streams:
            stream.send(ASK)
            next(stream.call)
        relay.cut()
        outcomes = []
        for stream in streams:
            stream.send(ASK)
            try:
                next(stream.call)
                outcomes.append(Code.OK)
            except grpc.RpcError as error:
                outcomes.append(error.code())
            stream.send(None)
        assert sorted(code.name for code in outcomes) == ["OK", "UNAVAILABLE"]
        assert [bool(one.verdict) for one in proxy.pool.replicas] == [False, True]


def test_an_empty_stream(simulated_root: SimulatedRoot, proxy: LocalProxy) -> None:
    stream = Stream(proxy)
    stream.send(None)
    assert list(stream.call) == []
