"""Connections are taken off a socket that is not ours alone, and begun before the end."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from sealserve.inference.transport import acceptor, connection
from sealserve.inference.transport.server import Server
from sealserve.inference.transport.tls import TlsContext
from support.transport_case import (
    LIMITS,
    Handlers,
    bound,
    client_context,
    identity,
    in_loop,
    port_of,
    serving,
    showing,
    told,
    unary_unary_echo,
    until,
    wire,
)


@dataclass
class Others:
    """Rivals that come first so many times."""

    first: int = 0
    asked: int = 0
    changes: list[int] = field(default_factory=list)

    def come_first(self) -> bool:
        self.asked += 1
        self.first -= 1
        return self.first >= 0

    def took(self) -> None:
        self.changes.append(1)

    def lost(self) -> None:
        self.changes.append(-1)


@asynccontextmanager
async def beside(others: Others, limits: Any = LIMITS, tls: Any = None) -> AsyncIterator[Server]:
    server = Server(limits, str, others)
    server.add_generic_rpc_handlers([Handlers(unary_unary_echo)])
    server.listen(bound(), tls)
    try:
        yield server
    finally:
        await server.stop(0)


@in_loop
async def test_one_that_rivals_leave_is_taken_all_the_same() -> None:
    others = Others(first=5)
    async with beside(others) as server, wire(server) as caller:
        assert (await caller.answer(caller.call("unary_unary_echo"))).status == 0
        assert others.asked >= 6
        assert others.changes == [1]
    assert others.changes == [1, -1]


@in_loop
async def test_one_that_a_rival_took_is_not_waited_for() -> None:
    """Nobody looks at a socket where nobody waits."""
    others = Others(first=1)
    async with beside(others) as server:
        rival = server._acceptors[0].listener.dup()
        with socket.create_connection(("127.0.0.1", port_of(server))):
            rival.accept()[0].close()
            await asyncio.sleep(0.02)
            assert others.asked <= 1
            assert others.changes == []
        rival.close()


@in_loop
async def test_one_that_is_refused_was_taken_and_is_gone() -> None:
    others = Others()
    async with beside(others, replace(LIMITS, connections=0)) as server:
        async with wire(server) as caller:
            await until(lambda: caller.closed)
        assert others.changes == [1, -1]


@in_loop
async def test_one_for_whom_there_is_no_certificate_is_gone_and_the_next_is_served() -> None:
    key, certificate = identity()
    broken = [True]

    def shown() -> bytes:
        if broken:
            broken.clear()
            raise OSError(errno.EMFILE, "no descriptor")
        return certificate

    others = Others()
    async with beside(others, tls=TlsContext(lambda: key, shown)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        assert await reader.read() == b""
        writer.close()
        assert [type(each["exception"]) for each in told()] == [OSError]
        assert others.changes == [1, -1]
        async with wire(server, context=client_context()) as caller:
            assert (await caller.answer(caller.call("unary_unary_echo"))).status == 0


@in_loop
async def test_one_that_cannot_begin_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_make: Any, _plain: socket.socket) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    others = Others()
    async with beside(others) as server:
        monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", fails)
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        assert await reader.read() == b""
        writer.close()
        await until(lambda: not server._connections)
        assert others.changes == [1, -1]
    gc.collect()  # of a task that failed the loop is told when nobody can ask it any more
    assert [type(each["exception"]) for each in told()] == [OSError]


@in_loop
async def test_without_descriptors_it_looks_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "_SHORTAGE_SECONDS", 0.02)
    short = [True, True]

    class Short(socket.socket):
        def accept(self) -> Any:
            if short:
                short.pop()
                raise OSError(errno.EMFILE, "no descriptor")
            return super().accept()

    plain = bound()
    listener = Short(fileno=plain.detach())
    async with serving(listener=listener) as server, wire(server) as caller:
        assert (await caller.answer(caller.call("unary_unary_echo"))).status == 0
    assert not short


@in_loop
async def test_its_end_leaves_the_socket_to_others() -> None:
    async with serving() as server:
        others = server._acceptors[0].listener.dup()
        await server.stop(0)
        with socket.create_connection(others.getsockname()):
            others.setblocking(True)
            others.accept()[0].close()
        others.close()


@in_loop
async def test_one_that_was_just_taken_is_told_of_the_end_and_not_reset() -> None:
    """Taken, but not begun; and begun, but not through its handshake."""
    pair = identity()
    async with serving(tls=showing(lambda: pair)) as server:
        address = ("127.0.0.1", port_of(server))
        late = socket.create_connection(address)
        await until(lambda: server._connections)
        with socket.create_connection(address) as just:
            while len(server._connections) < 2:
                await asyncio.sleep(0)
            stopping = asyncio.create_task(server.stop(1000))
            async with wire(late, context=client_context()) as caller:
                await until(lambda: caller.goaways)
                await until(lambda: caller.closed)
            async with wire(just, context=client_context()) as caller:
                await until(lambda: caller.goaways)
        await stopping


@in_loop
async def test_one_that_says_nothing_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "LATE_SECONDS", 0.02)
    pair = identity()
    async with serving(tls=showing(lambda: pair)) as server:
        with socket.create_connection(("127.0.0.1", port_of(server))) as silent:
            await until(lambda: server._connections)
            await server.stop(1000)
            silent.settimeout(1)
            assert silent.recv(1) == b""


@in_loop
async def test_somebody_else_listens_there() -> None:
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    plain.bind(("127.0.0.1", 0))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(plain.getsockname())
        other.listen()
        with pytest.raises(OSError, match="in use"):
            Server(LIMITS, str).listen(plain, None)
    plain.close()
