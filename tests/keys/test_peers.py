"""Connections that nobody uses end by themselves, and one peer has only so many."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from sealserve.keys import peers
from sealserve.keys.peers import Limited, peer_of
from sealserve.keys.serving import bound
from support.ports import free_port

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(peers, "MAX_OF_ONE_PEER", 3)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers slower than anybody may be with a request."""
    await asyncio.sleep(0.6)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Callable[[], Awaitable[Peer]], Counter[str]]]:
    counted: Counter[str] = Counter()
    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=60)
    config.load()
    loop = asyncio.get_running_loop()
    made = partial(
        Limited, peers=counted, config=config, server_state=ServerState(), app_state={}, _loop=loop
    )
    server = await loop.create_server(made, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connected: list[Peer] = []

    async def connect() -> Peer:
        connected.append(await asyncio.open_connection("127.0.0.1", port))
        return connected[-1]

    try:
        yield connect, counted
    finally:
        for _, writer in connected:
            await close(writer)
        server.close()
        await server.wait_closed()
        while counted:  # until each was told that its connection is gone
            await asyncio.sleep(0.01)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), 5) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"", GET[:1], GET[:-2]], ids=repr)
def test_who_sends_no_request_is_cut_off(said: bytes) -> None:
    async def story() -> None:
        async with listening() as (connect, _):
            reader, writer = await connect()
            writer.write(said)
            assert await ended(reader)

    asyncio.run(story())


def test_who_sends_a_request_has_all_the_time_its_answer_takes() -> None:
    async def story() -> None:
        async with listening() as (connect, _):
            reader, writer = await connect()
            for _ in range(2):
                writer.write(GET)
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 5)
                assert answer.startswith(b"HTTP/1.1 200")
            writer.write(GET[:5])
            assert await ended(reader)

    asyncio.run(story())


def test_one_peer_has_so_many_connections_and_gets_them_back() -> None:
    async def story() -> None:
        async with listening() as (connect, counted):
            held = [await connect() for _ in range(3)]
            for _, writer in held:
                writer.write(GET)
            reader, writer = await connect()
            writer.write(GET)
            assert await ended(reader)
            for _, writer in held:
                await close(writer)
            while counted:
                await asyncio.sleep(0.01)
            reader, writer = await connect()
            writer.write(GET)
            assert await asyncio.wait_for(reader.readuntil(b"ok"), 5)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "192.0.2.1", False),
    ],
)
def test_who_counts_as_one(one: str, other: str, same: bool) -> None:
    assert (peer_of(one) == peer_of(other)) is same


def test_an_answer_waits_for_no_acknowledgement() -> None:
    """A socket of ours is one for which asyncio turns Nagle's algorithm off."""

    async def accepted() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            seen.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(
            connected, sock=bound(f"127.0.0.1:{free_port()}", what="test")
        ) as listening:
            port = listening.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return await seen
            finally:
                await close(writer)

    assert asyncio.run(accepted())
