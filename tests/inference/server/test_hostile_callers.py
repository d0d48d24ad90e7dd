"""Callers that hold on to what they have: others are answered meanwhile, and memory is bounded.

A server as the process it is, with limits small enough to be reached here.
"""

from __future__ import annotations

import hashlib
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice

import grpc
import numpy as np
import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import names
from sealserve.inference.wire.address import parse_address
from sealserve.inference.wire.infer import decode_response
from sealserve.inference.wire.open_inference_pb2 import ModelInferRequest
from sealserve.keys import new_identity
from support.attestation_simulated import machine_of
from support.h2_socket import encrypted
from support.http2 import DATA, HEADERS, RESET, Caller
from support.models_sealed import seal_model
from support.resident import resident_bytes
from support.server_case import PINNED, infer_request, one_node, until
from support.server_process import SECONDS, Server, certificate_of, serving

MANY = 1000
MESSAGE_BYTES = 2**20
CALLS = 16
LIMITS = f"""version = 1
[limits]
message_bytes = {MESSAGE_BYTES}
calls = {CALLS}
connections = {3 * MANY}
peer_connections = {3 * MANY}
request_seconds = 2
""".encode()
# Two messages for each call, and as much again for what the allocator keeps.
BOUND_BYTES = 4 * CALLS * MESSAGE_BYTES
IDLE_BYTES = 100 * 1024  # of a connection, in HTTP/2 and TLS


@pytest.fixture(scope="module", autouse=True)
def descriptors() -> Iterator[None]:
    """Of this process, which holds the other end of each connection."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before), max(before)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> Iterator[Server]:
    """It serves `zeros`, which gives as many zeros as it is asked for."""
    folder = tmp_path_factory.mktemp("hostile") / "desk"
    folder.mkdir()
    plain = folder / "zeros.onnx"
    plain.write_bytes(
        one_node("ConstantOfShape", [("x", TensorProto.INT64, ["n"])], ("y", TensorProto.FLOAT))
    )
    keys = [new_identity(folder / "owner.key").recipient]
    root = seal_model(plain, folder / "net.sealed", keys=keys, name="zeros").root.hex()
    (folder / "limits.toml").write_bytes(LIMITS)
    arguments = ["net.sealed", "--root", root, "--identity", "owner.key"]
    arguments += ["--config", "limits.toml"]
    arguments += ["--config-sha256", hashlib.sha256(LIMITS).hexdigest()]
    arguments += ["--listen", "127.0.0.1:0"]
    # As shells start programs; our own limit of connections is above it.
    few = ("prlimit", "--nofile=256:")
    with serving(folder, arguments, machine_of(simulated_root), prefix=few) as server:
        yield server


def asking_for(count: int) -> ModelInferRequest:
    return infer_request("zeros", ("x", "INT64", (1,), np.array([count], "<i8").tobytes()))


LARGE = asking_for(MESSAGE_BYTES // 4 - 100).SerializeToString()


def answered(server: Server) -> None:
    """Somebody else, on a connection of his own, gets what he asked for."""
    credentials = grpc.ssl_channel_credentials(certificate_of(server.target).encode())
    with grpc.secure_channel(
        server.target, credentials, [*PINNED, ("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        data = channel.unary_unary(names.MODEL_INFER)(
            asking_for(3).SerializeToString(), timeout=SECONDS
        )
    (y,) = decode_response(data).outputs
    assert y.data.tolist() == [0, 0, 0]


def until_answered(server: Server) -> None:
    """The same, as soon as the places are free that others gave up."""
    until(lambda: not refused(server))


def refused(server: Server) -> bool:
    try:
        answered(server)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return True
    return False


def first(caller: Caller, count: int, *kinds: int) -> list[tuple[int, int, bytes]]:
    """So many frames of these kinds, or of data, as they come."""
    wanted = (frame for frame in caller.frames() if frame[0] in (*kinds, DATA))
    return list(islice(wanted, count))


def grown(server: Server, before: int) -> int:
    return resident_bytes(server.process.pid) - before


def silent(server: Server) -> socket.socket:
    """A connection that never says a word."""
    return socket.create_connection(parse_address(server.target, default_port=0), SECONDS)


def half_silent(server: Server) -> socket.socket:
    """One that says nothing after its handshake."""
    return encrypted(parse_address(server.target, default_port=0), SECONDS)


@pytest.mark.parametrize("connect", [silent, half_silent])
def test_a_thousand_idle_connections(server: Server, connect) -> None:
    answered(server)
    before = resident_bytes(server.process.pid)
    with ExitStack() as held:
        for _ in range(MANY):
            held.enter_context(connect(server))
        answered(server)
        assert grown(server, before) < MANY * IDLE_BYTES
    answered(server)


def test_a_caller_who_does_not_read_his_answers(server: Server) -> None:
    """They are kept for him, in the places for calls that he has; nobody waits for him."""
    answered(server)
    before = resident_bytes(server.process.pid)
    with Caller(server.target, window=0) as caller:
        for _ in range(CALLS // 2):
            caller.send(caller.begin(names.MODEL_INFER), LARGE)
        answered(server)
        answered_by_headers = {stream for kind, stream, _ in first(caller, CALLS // 2, HEADERS)}
        assert len(answered_by_headers) == CALLS // 2  # the rest waits for him
        answered(server)
        assert grown(server, before) < BOUND_BYTES
    answered(server)


def test_streams_that_stop_half_way(server: Server) -> None:
    """A message whose rest never comes has the time of a call, and then its place is free."""
    with Caller(server.target) as caller:
        streams = set()
        for _ in range(CALLS // 2):
            stream = caller.begin(names.MODEL_INFER)
            caller.send(stream, b"half", announced=MESSAGE_BYTES)
            streams.add(stream)
        answered(server)
        assert {stream for _, stream, _ in first(caller, CALLS // 2, HEADERS)} == streams
    answered(server)


def test_a_connection_that_breaks_in_the_middle_of_a_message(server: Server) -> None:
    for _ in range(2 * CALLS):
        with Caller(server.target) as caller:
            caller.send(caller.begin(names.MODEL_INFER), b"half", announced=MESSAGE_BYTES)
    answered(server)


def test_calls_that_are_cancelled_at_once(server: Server) -> None:
    """Many more than there are places; each place is free again."""
    answered(server)
    before = resident_bytes(server.process.pid)
    for _ in range(10):
        with Caller(server.target) as caller:
            for _ in range(MANY // 10):
                stream = caller.begin(names.MODEL_INFER)
                caller.cancel(stream)
    until_answered(server)
    assert grown(server, before) < BOUND_BYTES


def test_a_deadline_that_has_passed(server: Server) -> None:
    """The caller hears that he is late, and not an answer."""
    with Caller(server.target) as caller:
        streams = {caller.begin(names.MODEL_INFER, timeout="1n") for _ in range(CALLS // 2)}
        for stream in streams:
            caller.send(stream, LARGE)
        ends = first(caller, CALLS // 2, RESET, HEADERS)
        assert not any(kind == DATA for kind, _, _ in ends)
    until_answered(server)
