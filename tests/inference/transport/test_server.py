"""A server as a whole: whom it asks for a method, how it stops, and clients that are not ours."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from sealserve.inference.transport import server as module
from sealserve.inference.transport.server import Server
from sealserve.native.errors import UnavailableError
from support.http2_peer import message
from support.transport_case import (
    LIMITS,
    Handlers,
    identity,
    in_loop,
    port_of,
    serving,
    showing,
    unary_unary_forever,
    until,
    wire,
)

OK, UNAVAILABLE = 0, 14


@in_loop
async def test_without_the_library_there_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UnavailableError("libnghttp2.so.14 cannot be opened")

    monkeypatch.setattr(module, "require_library", missing)
    with pytest.raises(UnavailableError):
        Server(LIMITS, str)


# ---- methods


@in_loop
async def test_the_first_who_serves_a_method_is_asked_once() -> None:
    asked: list[str] = []

    class Asked(Handlers):
        def service(self, details: Any) -> Any:
            asked.append(details.method)
            return super().service(details)

    async def unary_unary_other(_request: bytes, _context: Any) -> bytes:
        return b"other"

    async with serving() as server, wire(server) as caller:
        server.add_generic_rpc_handlers([Asked(unary_unary_other)])
        server.add_registered_method_handlers("test", {})
        for _ in range(3):
            answer = await caller.answer(caller.call("unary_unary_other"))
            assert answer.data == message(b"other")
        for _ in range(3):
            await caller.answer(caller.call("unary_unary_echo"))
    assert asked == ["/test/unary_unary_other"]


@in_loop
async def test_methods_that_are_not_there_are_not_remembered() -> None:
    async with serving() as server, wire(server) as caller:
        for number in range(20):
            await caller.answer(caller.call(f"unary_unary_{number}"))
        assert server._methods == {}


# ---- its end


@in_loop
async def test_a_server_without_connections_stops_at_once() -> None:
    async with serving() as server:
        await server.stop(1000)


@in_loop
async def test_connections_without_calls_are_not_waited_for() -> None:
    async with serving() as server, wire(server) as caller:
        await until(lambda: server._connections)
        await server.stop(1000)
        await until(lambda: caller.closed)
        assert caller.goaways[0] == (2**31 - 1, 0)


@in_loop
async def test_calls_under_way_end_first() -> None:
    async with serving() as server, wire(server) as caller:
        stream = caller.begin("stream_stream_echo")
        await until(lambda: server._calls)
        port = port_of(server)
        stopping = asyncio.create_task(server.stop(1000))
        await until(lambda: len(caller.goaways) == 2)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        caller.send(stream, message(b"last"))
        answer = await caller.answer(stream)
        assert (answer.status, answer.data) == (OK, message(b"last"))
        await stopping


@in_loop
async def test_calls_that_do_not_end_are_ended() -> None:
    async with serving(unary_unary_forever) as server, wire(server) as caller:
        stream = caller.call("unary_unary_forever")
        await until(lambda: server._calls)
        await server.stop(0.01)
        answer = await caller.answer(stream)
        assert answer.status == UNAVAILABLE
        assert answer.last["grpc-message"] == "this server was stopped"


@in_loop
async def test_callers_who_read_nothing_do_not_hold_up_the_end() -> None:
    async def unary_unary_long(_request: bytes, _context: Any) -> bytes:
        return bytes(2**24)

    async with (
        serving(unary_unary_long) as server,
        wire(server, window=2**31 - 1, deaf=True) as caller,
    ):
        caller.allow(0, 2**30)
        caller.call("unary_unary_long")
        await until(lambda: any(each._paused for each in server._connections))
        await server.stop(0.01)
        assert not server._connections


@in_loop
async def test_a_handler_that_will_not_end_does_not_hold_up_the_end() -> None:
    go_on = asyncio.Event()

    async def unary_unary_stubborn(_request: bytes, _context: Any) -> bytes:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return b"nobody hears this"

    async with serving(unary_unary_stubborn) as server, wire(server) as caller:
        stream = caller.call("unary_unary_stubborn")
        await until(lambda: server._calls)
        await server.stop(0.01)
        assert (await caller.answer(stream)).status == UNAVAILABLE
    go_on.set()


# ---- where it listens


@in_loop
async def test_a_unix_socket(tmp_path: Path) -> None:
    place = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    async with serving(listener=listener), grpc.aio.insecure_channel(f"unix:{place}") as channel:
        assert await channel.unary_unary("/test/unary_unary_echo")(b"x") == b"x"


# ---- clients that are not ours


@pytest.mark.skipif(shutil.which("h2load") is None, reason="nghttp2-client is not installed")
@pytest.mark.parametrize("window", [16, 30])
@in_loop
async def test_h2load(tmp_path: Path, window: int) -> None:
    """A thousand calls over four connections, with windows from 64 KiB to a gigabyte."""
    ours = identity()
    body = tmp_path / "message"
    body.write_bytes(message(bytes(100_000)))
    async with serving(tls=showing(lambda: ours)) as server:
        running = await asyncio.create_subprocess_exec(
            *("h2load", "-n", "1000", "-c", "4", "-m", "2", "-w", str(window), "-W", str(window)),
            *("-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"https://127.0.0.1:{port_of(server)}/test/unary_unary_echo",
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await running.communicate()
    assert "1000 succeeded, 0 failed" in said.decode()
    assert f"({1000 * 100_005}) data" in said.decode()
