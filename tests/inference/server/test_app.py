"""A whole server while time passes: certificates that change, and an end that waits for some."""

from __future__ import annotations

import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server.config import Limits
from sealserve.inference.server.port import HeldPort
from sealserve.inference.wire import names
from sealserve.native.errors import UnavailableError
from support.attestation_simulated import machine_of
from support.client_case import as_pem
from support.client_server import Doubler
from support.h2_socket import encrypted
from support.server_case import Served, doubler, infer_request, until
from support.server_process import SECONDS, certificate_of

MAX_CONCURRENT_STREAMS = 3  # RFC 9113, section 6.5.2
DOUBLING = infer_request("doubler", ("x", "FP32", (1, 3), bytes(12)))


@pytest.fixture(scope="module")
def machine(simulated_root: SimulatedRoot) -> Machine:
    return machine_of(simulated_root)


# ---- certificates


def test_a_rotation_is_for_new_connections_and_breaks_none(machine: Machine) -> None:
    with Served(machine, doubler()) as server:
        server.call(names.SERVER_LIVE, b"")
        before = server.identity.certificates
        assert certificate_of(server.target).encode() == as_pem(before.current)
        server.identity.rotate()
        assert certificate_of(server.target).encode() == as_pem(before.next)
        server.call(names.SERVER_LIVE, b"")
        with server.connect() as fresh:
            assert fresh.unary_unary(names.SERVER_LIVE)(b"", timeout=SECONDS)


# ---- how many there may be


def test_calls_beyond_the_limit_are_refused_before_their_message_is_read(machine: Machine) -> None:
    """Whatever kind they are: here predictions that run, and then the smallest call there is."""
    model = doubler()
    session: Doubler = model.session  # type: ignore[assignment]
    with Served(machine, model, limits=Limits(calls=3, running=3)) as server:
        session.gate.clear()
        admitted = [server.start(names.MODEL_INFER, DOUBLING) for _ in range(3)]
        until(lambda: server.admitted == 3)
        call = server.start(names.SERVER_LIVE, b"")
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        session.gate.set()
        assert all(one.result() for one in admitted)
        until(lambda: server.start(names.SERVER_LIVE, b"").code() is grpc.StatusCode.OK)


def test_a_connection_is_told_how_many_calls_it_may_have(machine: Machine) -> None:
    with (
        Served(machine, doubler(), limits=Limits(calls=7)) as server,
        encrypted(("127.0.0.1", server.port), SECONDS) as connection,
        connection.makefile("rwb") as stream,
    ):
        stream.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        stream.flush()
        head = stream.read(9)  # RFC 9113, section 4.1; the first frame is SETTINGS
        settings = dict(struct.iter_unpack(">HI", stream.read(int.from_bytes(head[:3], "big"))))
    assert settings[MAX_CONCURRENT_STREAMS] == 14


def test_connections_beyond_the_limit_are_closed(machine: Machine) -> None:
    with Served(machine, doubler(), limits=Limits(connections=1)) as server:
        server.call(names.SERVER_LIVE, b"")
        with server.connect() as other:
            call = other.unary_unary(names.SERVER_LIVE).future(b"", timeout=SECONDS)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
        server.call(names.SERVER_LIVE, b"")


def test_a_connection_ends_at_an_age_with_whatever_still_hangs_on_it(machine: Machine) -> None:
    limits = Limits(connection_seconds=0.1, request_seconds=0.1)
    with Served(machine, doubler(), limits=limits) as server:
        health = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.RpcError) as ended:
            list(health)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        server.call(names.SERVER_LIVE, b"")  # over a new one


# ---- the end


def test_a_prediction_under_way_is_finished_and_no_new_one_begins(machine: Machine) -> None:
    model = doubler()
    session: Doubler = model.session  # type: ignore[assignment]
    server = Served(machine, model)
    health = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())
    assert next(health).status == health_pb2.HealthCheckResponse.SERVING
    session.gate.clear()
    running = server.start(names.MODEL_INFER, DOUBLING)
    session.started.wait()
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(server.loop.run, server.server.stop())
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()  # a stream is a call under way too
        with server.connect() as late:
            call = late.unary_unary(names.SERVER_LIVE).future(b"", timeout=SECONDS)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert not running.done()
        session.gate.set()
        assert running.result()
        stopping.result()
    server.channel.close()
    server.loop.stop()


def test_a_prediction_that_takes_longer_than_the_time_to_drain_is_left_behind(
    machine: Machine,
) -> None:
    model = doubler()
    session: Doubler = model.session  # type: ignore[assignment]
    server = Served(machine, model, limits=Limits(running=1, drain_seconds=0.01))
    session.gate.clear()
    running, waiting = (server.start(names.MODEL_INFER, DOUBLING) for _ in range(2))
    session.started.wait()
    try:
        assert server.loop.run(server.server.stop()) is False
        for call in (running, waiting):
            assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    finally:
        session.gate.set()
    server.channel.close()
    server.loop.stop()
    assert session.runs == 1


# ---- the port


def test_a_port_that_was_taken_in_the_meantime(machine: Machine) -> None:
    with Served(machine, doubler()) as first:
        port = first.port
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}") as refused:
            Served(machine, doubler(), port=port)
    assert refused.value.hint


def test_a_port_where_somebody_else_was_first_to_listen(machine: Machine) -> None:
    """Both were bound to it, which is possible until one of them listens."""
    held = HeldPort("127.0.0.1", 0)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", held.port))
        other.listen()
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{held.port}"):
            Served(machine, doubler(), held=held)
    held.close()


def test_a_port_that_is_refused_is_refused_whoever_holds_it() -> None:
    held = HeldPort("127.0.0.1", 0)
    held.refuse()  # nobody listened yet
    held.listener.listen()
    with held.listener.dup() as inherited:
        socket.create_connection(("127.0.0.1", held.port)).close()
        held.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", held.port))
        with pytest.raises(OSError, match="Invalid"):
            inherited.accept()
    held.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "localhost"])
def test_a_free_port_is_left_free(host: str) -> None:
    HeldPort(host, 0).close()


def test_a_port_that_was_served_a_moment_ago_is_free_again() -> None:
    """Connections of the last server may still be on their way out."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listening.accept()[0].close()  # the server's side ends first, and lingers
    HeldPort("127.0.0.1", port).close()
