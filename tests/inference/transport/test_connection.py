"""One connection: who is let in, what is no call, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealserve.inference.transport import connection as module
from sealserve.inference.transport.connection import peer_at
from support.http2_peer import message
from support.transport_case import (
    LIMITS,
    Wire,
    bound,
    in_loop,
    port_of,
    serving,
    unary_unary_forever,
    until,
    wire,
)

UNIMPLEMENTED, EXHAUSTED, INTERNAL, UNAVAILABLE = 12, 8, 13, 14
CANCEL = 8
LONG = bytes(16_000)


# ---- what is no call


@pytest.mark.parametrize(
    ("field", "status"),
    [((":method", "GET"), "405"), (("content-type", "text/html"), "415")],
)
@in_loop
async def test_requests_that_are_no_call(field: tuple[str, str], status: str) -> None:
    async with serving() as server, wire(server) as caller:
        answer = await caller.answer(caller.begin("unary_unary_echo", field))
        assert answer.headers == [[(":status", status)]]
        assert server._calls == 0
        assert (await caller.answer(caller.call("unary_unary_echo"))).status == 0


@in_loop
async def test_a_method_that_is_not_there() -> None:
    async with serving() as server, wire(server) as caller:
        answer = await caller.answer(caller.call("unary_unary_other"))
        assert answer.status == UNIMPLEMENTED
        assert server._methods == {}


@in_loop
async def test_metadata_that_is_too_long() -> None:
    limits = replace(LIMITS, metadata_bytes=1000)
    async with serving(limits=limits) as server, wire(server) as caller:
        answer = await caller.answer(caller.begin("unary_unary_echo", ("key", "x" * 1000)))
        assert answer.status == EXHAUSTED
        assert (await caller.answer(caller.call("unary_unary_echo"))).status == 0


@in_loop
async def test_metadata_that_is_no_metadata() -> None:
    async with serving() as server, wire(server) as caller:
        answer = await caller.answer(caller.begin("unary_unary_echo", ("key-bin", "?")))
        assert answer.status == INTERNAL
        assert server._calls == 0


@in_loop
async def test_what_is_no_http2() -> None:
    """Such as a browser's: the connection is over, and nobody is told but its peer."""
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.read())[3] == 4  # settings, which come in any case
        writer.close()
        await until(lambda: not server._connections)


@in_loop
async def test_a_break_of_the_protocol_ends_its_calls() -> None:
    async with serving(unary_unary_forever) as server, wire(server) as caller:
        caller.call("unary_unary_forever")
        await until(lambda: server._calls)
        caller.give(b"\0\0\1\0\0\0\0\0\0x")  # data of no stream
        await until(lambda: caller.closed)
        assert caller.goaways[0][1] == 1  # PROTOCOL_ERROR
        await until(lambda: server._calls == 0)


# ---- how many


@in_loop
async def test_so_many_connections() -> None:
    limits = replace(LIMITS, connections=2)
    async with serving(limits=limits) as server, wire(server) as one, wire(server) as two:
        await until(lambda: len(server._connections) == 2)
        async with wire(server) as third:
            await until(lambda: third.closed)
        assert not one.closed
        await two.close()
        await until(lambda: len(server._connections) == 1)
        async with wire(server) as fourth:
            assert (await fourth.answer(fourth.call("unary_unary_echo"))).status == 0


@in_loop
async def test_so_many_connections_of_one_peer() -> None:
    """Another address still has its own."""
    limits = replace(LIMITS, peer_connections=1)
    async with serving(limits=limits) as server, wire(server):
        await until(lambda: server._connections)
        async with wire(server) as second:
            await until(lambda: second.closed)
        other = await asyncio.open_connection(
            "127.0.0.1", port_of(server), local_addr=("127.0.0.2", 0)
        )
        await until(lambda: len(server._connections) == 2)
        assert set(server._of_peers) == {"ipv4:127.0.0.1", "ipv4:127.0.0.2"}
        other[1].close()


@in_loop
async def test_so_many_calls() -> None:
    """Of all connections; whoever comes then is told when to come again."""
    limits = replace(LIMITS, calls=2)
    async with (
        serving(unary_unary_forever, limits=limits) as server,
        wire(server) as one,
        wire(server) as two,
    ):
        first = one.call("unary_unary_forever")
        two.call("unary_unary_forever")
        await until(lambda: server._calls == 2)
        answer = await one.answer(one.call("unary_unary_echo"))
        assert answer.status == EXHAUSTED
        assert answer.last["grpc-retry-pushback-ms"] == "500"
        one.cancel(first)
        await until(lambda: server._calls == 1)
        assert (await one.answer(one.call("unary_unary_echo"))).status == 0


@in_loop
async def test_so_many_streams() -> None:
    limits = replace(LIMITS, streams=1, calls=2)
    async with serving(unary_unary_forever, limits=limits) as server, wire(server) as caller:
        caller.call("unary_unary_forever")
        await until(lambda: server._calls == 1)
        await until(lambda: caller.answers[0])  # our settings came
        caller.call("unary_unary_echo")
        await until(lambda: caller.closed)
        await until(lambda: server._calls == 0)


@in_loop
async def test_streams_that_are_reset_at_once_begin_nothing() -> None:
    began: list[int] = []

    async def unary_unary_count(_request: bytes, _context: Any) -> bytes:
        began.append(1)
        return b""

    async with serving(unary_unary_count) as server, wire(server) as caller:
        for _ in range(500):
            caller.cancel(caller.begin("unary_unary_count"))
        assert (await caller.answer(caller.call("unary_unary_count"))).status == 0
        assert began == [1]
        assert server._calls == 0


# ---- age and ends


@in_loop
async def test_a_connection_that_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for no more calls; what is on its way is served, what comes later is not."""
    monkeypatch.setattr(module, "NOTICE_SECONDS", 0.2)
    limits = replace(LIMITS, seconds=0.2)
    async with serving(limits=limits) as server, wire(server) as caller:
        stream = caller.begin("stream_stream_echo")
        await until(lambda: caller.goaways)
        assert caller.goaways == [(2**31 - 1, 0)]
        assert (await caller.answer(caller.call("unary_unary_echo"))).status == 0
        await until(lambda: len(caller.goaways) == 2)
        assert caller.goaways[1] == (3, 0)
        caller.call("unary_unary_echo")  # to be tried elsewhere, as the caller was told
        caller.send(stream, message(b"still"))
        answer = await caller.answer(stream)
        assert (answer.data, answer.status) == (message(b"still"), 0)
        await until(lambda: caller.closed)
        assert caller.answers[5].headers == []


@in_loop
async def test_calls_of_an_old_connection_have_a_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOTICE_SECONDS", 0.01)
    limits = replace(LIMITS, seconds=0.05, grace=0.05)
    async with serving(unary_unary_forever, limits=limits) as server, wire(server) as caller:
        caller.call("unary_unary_forever")
        await until(lambda: caller.closed)
        await until(lambda: not server._connections)


@in_loop
async def test_ages_differ() -> None:
    """Connections made together do not end together."""
    async with serving() as server, wire(server), wire(server), wire(server):
        await until(lambda: len(server._connections) == 3)
        ends = {each._timers["retire"].when() for each in server._connections}
    assert max(ends) - min(ends) > 0.1


# ---- answers that nobody takes


@in_loop
async def test_an_answer_that_nobody_takes_is_given_up() -> None:
    """By a caller who gives no leave for it; his other calls go on."""
    limits = replace(LIMITS, patience=0.05)
    async with serving(limits=limits) as server, wire(server, window=0) as caller:
        stream = caller.call("unary_unary_echo", b"x")
        answer = await caller.answer(stream)
        assert answer.reset == CANCEL
        assert answer.data == b""
        await until(lambda: server._calls == 0)
        other = caller.call("unary_unary_echo", b"x")
        caller.allow(other, 100)
        assert (await caller.answer(other)).data == message(b"x")


@in_loop
async def test_a_caller_who_reads_nothing_at_all_is_hung_up_on() -> None:
    """Nor would he hear that his answer is given up."""
    limits = replace(LIMITS, patience=0.1, streams=200, calls=200)

    async def unary_unary_long(_request: bytes, _context: Any) -> bytes:
        return bytes(2**24)

    async with (
        serving(unary_unary_long, limits=limits) as server,
        wire(server, window=2**31 - 1, deaf=True) as caller,
    ):
        caller.allow(0, 2**30)
        caller.call("unary_unary_long")
        await until(lambda: server._calls)
        await until(lambda: server._calls == 0)
        assert not server._connections


@in_loop
async def test_a_stream_of_answers_that_nobody_takes_has_a_deadline() -> None:
    async def unary_stream_many(_request: bytes, _context: Any) -> Any:
        while True:
            yield LONG

    async with serving(unary_stream_many) as server, wire(server, window=0) as caller:
        caller.call("unary_stream_many", b"", ("grpc-timeout", "50m"))
        await until(lambda: server._calls)
        limits = replace(LIMITS, patience=0.05)
        server.limits = limits
        await until(lambda: server._calls == 0)


@pytest.mark.parametrize("end", ["HTTP/2's", "TCP's"])
@in_loop
async def test_a_caller_who_ends_has_so_long_to_take_the_rest(end: str) -> None:
    """Less than what would hold up its connection: asyncio alone would wait for ever."""
    limits = replace(LIMITS, patience=0.3, streams=1000)

    async def unary_unary_part(_request: bytes, _context: Any) -> bytes:
        return bytes(100_000)

    async with (
        serving(unary_unary_part, limits=limits) as server,
        wire(server, window=2**31 - 1, deaf=True) as caller,
    ):
        caller.allow(0, 2**30)
        await until(lambda: server._connections)
        (ours,) = server._connections
        while not ours._transport.get_write_buffer_size():
            caller.call("unary_unary_part")
            await asyncio.sleep(0.001)
        assert not ours._paused
        if end == "TCP's":
            caller.writer.write_eof()
        else:
            caller.give(b"\0\0\1\0\0\0\0\0\0x")  # data of no stream
        await until(ours._transport.is_closing)
        await until(lambda: not server._connections)


@pytest.mark.parametrize("end", ["none", "HTTP/2's", "TCP's"])
@in_loop
async def test_a_caller_who_reads_nothing(end: str) -> None:
    """He may still take his answer, and has so long for it; his other calls end with him."""
    limits = replace(LIMITS, patience=0.1)

    async def unary_unary_long(_request: bytes, _context: Any) -> bytes:
        return bytes(2**24)

    async with (
        serving(unary_unary_long, unary_unary_forever, limits=limits) as server,
        wire(server, window=2**31 - 1, deaf=True) as caller,
    ):
        server.limits = replace(LIMITS, patience=1000)  # of what comes after this one is made
        caller.allow(0, 2**30)
        caller.call("unary_unary_forever")
        caller.call("unary_unary_long")
        await until(lambda: any(each._paused for each in server._connections))
        if end == "TCP's":
            caller.writer.write_eof()
        elif end == "HTTP/2's":
            caller.give(b"\0\0\1\0\0\0\0\0\0x")  # data of no stream
        await until(lambda: not server._connections)


# ---- what is left


@in_loop
async def test_calls_leave_no_circles() -> None:
    """What they hold goes when they end, and not when somebody looks for it."""
    async with serving() as server, wire(server) as caller:
        await caller.answer(caller.call("unary_unary_echo"))
        gc.collect()
        gc.disable()
        try:
            for _ in range(200):
                await caller.answer(caller.call("unary_unary_echo", b"x"))
            caller.answers.clear()
            assert gc.collect() < 200
        finally:
            gc.enable()


# ---- peers


def test_peers_in_grpcs_form() -> None:
    assert peer_at(("127.0.0.1", 5)) == "ipv4:127.0.0.1:5"
    assert peer_at(("::1", 5, 0, 0)) == "ipv6:[::1]:5"
    assert peer_at("") == "unix:"
    assert peer_at(None) == "unix:"


async def peer_seen(listener: socket.socket, place: Any) -> str:
    seen: list[str] = []

    async def unary_unary_peer(_request: bytes, context: Any) -> bytes:
        seen.append(context.peer())
        return b""

    async with serving(unary_unary_peer, listener=listener) as server:
        target = place or server
        if listener.family == socket.AF_INET6:
            reader, writer = await asyncio.open_connection("::1", port_of(server))
            caller = Wire(reader, writer, 65_535, deaf=False)
            await caller.answer(caller.call("unary_unary_peer"))
            await caller.close()
        else:
            async with wire(target) as caller:
                await caller.answer(caller.call("unary_unary_peer"))
    return seen[0]


@in_loop
async def test_a_peer_of_ipv4() -> None:
    assert (await peer_seen(bound(), None)).startswith("ipv4:127.0.0.1:")


@in_loop
async def test_a_peer_of_ipv6() -> None:
    assert (await peer_seen(bound("::1"), None)).startswith("ipv6:[::1]:")


@in_loop
async def test_a_peer_of_a_unix_socket(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    assert await peer_seen(listener, str(tmp_path / "s")) == "unix:"
