"""One address takes no more than its part, of every kind of call there is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server.admission import BusyError
from sealserve.inference.server.config import Limits
from sealserve.inference.server.peers import PLACE, Peers, holding
from sealserve.inference.wire import names
from support.attestation_simulated import machine_of
from support.client_server import Doubler
from support.http2 import HEADERS, Caller
from support.server_case import CALL_SECONDS, Served, doubler, infer_request, until

ONE, TWO = "ipv4:192.0.2.1:5000", "ipv4:192.0.2.2:5000"
DOUBLING = infer_request("doubler", ("x", "FP32", (1, 3), bytes(12)))
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


# ---- counting


def test_a_peer_has_so_many_calls_and_no_more() -> None:
    peers = Peers(calls=2, size=100)
    first, _ = peers.enter(ONE, 0), peers.enter(ONE, 0)
    with pytest.raises(BusyError, match="2 calls of this address") as refused:
        peers.enter(ONE, 0)
    assert refused.value.retry_after_seconds > 0
    peers.enter(TWO, 0)
    first.leave()
    peers.enter(ONE, 0)


@pytest.mark.parametrize(
    "address",
    ["ipv4:192.0.2.1:6000", "ipv6:[::ffff:192.0.2.1]:7000"],
    ids=["another port", "IPv4 within IPv6"],
)
def test_a_peer_is_an_address_whatever_its_ports(address: str) -> None:
    peers = Peers(calls=1, size=100)
    peers.enter(ONE, 0)
    with pytest.raises(BusyError):
        peers.enter(address, 0)


def test_a_peer_of_ipv6_is_a_network() -> None:
    peers = Peers(calls=1, size=100)
    peers.enter("ipv6:[2001:db8::1]:5000", 0)
    with pytest.raises(BusyError):
        peers.enter("ipv6:[2001:db8::ffff:2]:5000", 0)
    peers.enter("ipv6:[2001:db8:0:1::1]:5000", 0)


def test_bytes_are_counted_from_before_a_message_comes_until_its_call_ends() -> None:
    peers = Peers(calls=9, size=100)
    first = peers.enter(ONE, 60)
    with pytest.raises(BusyError, match="may take 100 bytes together"):
        peers.enter(ONE, 60)
    peers.enter(TWO, 60)
    first.shrink(40)
    second = peers.enter(ONE, 60)
    with pytest.raises(BusyError):
        peers.enter(ONE, 1)
    second.leave()
    with pytest.raises(BusyError):
        peers.enter(ONE, 61)
    peers.enter(ONE, 60)


def test_a_message_longer_than_was_thought_changes_nothing() -> None:
    peers = Peers(calls=9, size=100)
    peers.enter(ONE, 60).shrink(70)
    with pytest.raises(BusyError):
        peers.enter(ONE, 41)
    peers.enter(ONE, 40)


def test_messages_of_a_stream_are_counted_while_they_are_held() -> None:
    peers = Peers(calls=9, size=100)

    async def stream() -> None:
        place = peers.enter(ONE, 10)
        PLACE.set(place)
        with holding(50):
            with pytest.raises(BusyError), holding(50):
                pass
            with holding(40):
                pass
        with holding(90):
            pass
        place.leave()

    asyncio.run(stream())
    peers.enter(ONE, 100)


def test_nothing_is_held_behind_no_door() -> None:
    with holding(1 << 60):
        pass


def test_a_peer_is_forgotten_with_its_last_call() -> None:
    peers = Peers(calls=9, size=100)
    places = [peers.enter(address, 10) for address in (ONE, TWO, ONE)]
    assert len(peers) == 2
    for place in places:
        place.leave()
    assert len(peers) == 0


def test_a_call_that_is_refused_leaves_nothing_behind() -> None:
    peers = Peers(calls=1, size=100)
    with pytest.raises(BusyError):
        peers.enter(ONE, 101)
    place = peers.enter(ONE, 100)
    with pytest.raises(BusyError):
        peers.enter(ONE, 0)
    place.leave()
    peers.enter(ONE, 100)


# ---- at the door of a server


@pytest.fixture(scope="module")
def machine(simulated_root: SimulatedRoot) -> Machine:
    return machine_of(simulated_root)


def health(server: Served) -> Any:
    stub = health_pb2_grpc.HealthStub(server.channel)
    return stub.Check.future(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)


def reflection(server: Served) -> Any:
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([asked]), timeout=CALL_SECONDS)
    with suppress(grpc.RpcError):
        list(call)
    return call


def stream(server: Served) -> Any:
    call = server.channel.stream_stream(names.MODEL_STREAM_INFER)(
        iter([DOUBLING.SerializeToString()]), timeout=CALL_SECONDS
    )
    with suppress(grpc.RpcError):
        list(call)
    return call


CALLS = {
    "prediction": lambda server: server.start(names.MODEL_INFER, DOUBLING),
    "stream": stream,
    "evidence": lambda server: server.start(names.GET_EVIDENCE, b"\x0a\x20" + bytes(32)),
    "live": lambda server: server.start(names.SERVER_LIVE, b""),
    "health": health,
    "reflection": reflection,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_every_call_counts_and_is_refused_with_a_hint_when_to_come_back(
    machine: Machine, call: Any
) -> None:
    model = doubler()
    session: Doubler = model.session  # type: ignore[assignment]
    with Served(machine, model, limits=Limits(peer_calls=2)) as server:
        session.gate.clear()
        running = [server.start(names.MODEL_INFER, DOUBLING) for _ in range(2)]
        until(lambda: server.admitted == 2)
        refused = call(server)
        assert refused.code() is EXHAUSTED
        assert "2 calls of this address" in refused.details()
        hint = dict(refused.trailing_metadata())[names.RETRY_PUSHBACK_KEY]
        assert int(hint) > 0
        session.gate.set()
        assert all(one.result() for one in running)
        until(lambda: call(server).code() is grpc.StatusCode.OK)


def one_until(first: Any, stop: threading.Event) -> Iterator[Any]:
    """A stream that has one message and goes on."""
    yield first
    stop.wait(CALL_SECONDS)


def watch(server: Served, _stop: Any = None) -> Any:
    return health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())


def reflect(server: Served, stop: threading.Event) -> Any:
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    return stub.ServerReflectionInfo(one_until(asked, stop))


def predict(server: Served, stop: threading.Event) -> Any:
    stream = server.channel.stream_stream(names.MODEL_STREAM_INFER)
    return stream(one_until(DOUBLING.SerializeToString(), stop))


OPEN = {"watch": watch, "reflection": reflect, "stream": predict}


@pytest.mark.parametrize("begin", OPEN.values(), ids=OPEN.keys())
def test_a_stream_that_stays_open_is_a_call_under_way(machine: Machine, begin: Any) -> None:
    with Served(machine, doubler(), limits=Limits(peer_calls=1)) as server:
        stop = threading.Event()
        call = begin(server, stop)
        next(call)
        assert server.start(names.SERVER_LIVE, b"").code() is EXHAUSTED
        call.cancel()
        stop.set()
        until(lambda: server.start(names.SERVER_LIVE, b"").code() is grpc.StatusCode.OK)


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_names_of_services_are_short(machine: Machine, method: str) -> None:
    """A `Watch` keeps what it was asked for as long as its connection lives, and is counted as a
    call, not by its bytes.
    """
    with Served(machine, doubler()) as server:
        asked = health_pb2.HealthCheckRequest(service="x" * 65536)
        call = server.start(f"/grpc.health.v1.Health/{method}", asked.SerializeToString())
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert call.details() == "the message has 65540 bytes; 65536 are enough here"


@pytest.mark.parametrize("path", ["Check", "Watch"])
def test_a_call_counts_before_its_message_comes(machine: Machine, path: str) -> None:
    """Of services that are not ours as well; nobody has to send one to take a place."""
    with Served(machine, doubler(), limits=Limits(peer_calls=2)) as server:
        with Caller(f"127.0.0.1:{server.port}") as caller:
            for _ in range(2):
                caller.begin(f"/grpc.health.v1.Health/{path}")
            caller.begin(f"/grpc.health.v1.Health/{path}")
            refused = next(frame for frame in caller.frames() if frame[0] == HEADERS)
            assert refused[1] == 5
            with pytest.raises(grpc.RpcError) as told:
                server.infer(DOUBLING)
            assert told.value.code() is EXHAUSTED
        until(lambda: health(server).code() is grpc.StatusCode.OK)


def test_an_answer_that_nobody_reads_is_a_call_under_way(machine: Machine) -> None:
    with (
        Served(machine, doubler(), limits=Limits(peer_calls=1)) as server,
        Caller(server.target, window=0) as caller,
    ):
        caller.send(caller.begin(names.MODEL_INFER), DOUBLING.SerializeToString())
        next(frame for frame in caller.frames() if frame[0] == HEADERS)  # it was answered
        assert server.start(names.SERVER_LIVE, b"").code() is EXHAUSTED
        caller.cancel(1)
        until(lambda: server.start(names.SERVER_LIVE, b"").code() is grpc.StatusCode.OK)


def test_messages_that_wait_take_the_bytes_of_their_peer(machine: Machine) -> None:
    model = doubler()
    session: Doubler = model.session  # type: ignore[assignment]
    limits = Limits(message_bytes=4096, peer_bytes=4096 + 1000)
    long = infer_request("doubler", ("x", "FP32", (100, 3), bytes(1200)))
    with Served(machine, model, limits=limits) as server:
        session.gate.clear()
        small = server.start(names.MODEL_INFER, DOUBLING)
        until(lambda: server.admitted == 1)
        assert server.start(names.SERVER_LIVE, b"").code() is grpc.StatusCode.OK
        large = server.start(names.MODEL_INFER, long)
        until(lambda: server.admitted == 2)
        refused = server.start(names.SERVER_LIVE, b"")
        assert refused.code() is EXHAUSTED
        assert "may take 5096 bytes together" in refused.details()
        session.gate.set()
        assert small.result()
        assert large.result()
        until(lambda: server.start(names.SERVER_LIVE, b"").code() is grpc.StatusCode.OK)


def test_one_message_of_full_length_always_has_room(machine: Machine) -> None:
    limits = Limits(message_bytes=4096, peer_bytes=1024)
    with Served(machine, doubler(), limits=limits) as server:
        rows = 300
        whole = infer_request("doubler", ("x", "FP32", (rows, 3), bytes(12 * rows)))
        assert server.infer(whole).outputs[0].shape == (rows, 3)


def test_what_is_refused_at_the_door_is_counted(machine: Machine) -> None:
    with Served(machine, doubler(), limits=Limits(peer_calls=1)) as server:
        call = watch(server)
        next(call)
        assert server.start(names.SERVER_LIVE, b"").code() is EXHAUSTED
        call.cancel()
    counted = server.table.row().calls("ServerLive", "resource_exhausted")
    assert counted == 1
