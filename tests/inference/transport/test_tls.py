"""TLS 1.3 and nothing else, with the identity of the moment."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import hpack
import pytest
from hyperframe.frame import HeadersFrame, SettingsFrame

from sealserve.inference.transport import connection as connections
from sealserve.inference.transport import tls as module
from sealserve.inference.transport.server import Server
from sealserve.inference.transport.tls import Tls, TlsContext, TlsError
from support.http2_peer import CALL, PREFACE, message
from support.transport_case import (
    Pem,
    client_context,
    identity,
    in_loop,
    port_of,
    serving,
    showing,
    until,
    wire,
)

OURS = identity()
OTHER = identity()


class Client:
    """The other end of a `Tls`, in memory."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        self.came, self.goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.came, self.goes, session=session)

    def shake(self, ours: Tls) -> None:
        """Hands, as far as both are willing."""
        for _ in range(4):
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            said = self.goes.read()
            if not said and ours.ready:
                return
            list(ours.open(said))
            self.came.write(ours.outgoing())


def shaken(context: ssl.SSLContext, of: TlsContext | None = None) -> tuple[Client, Tls]:
    ours = (of or showing(lambda: OURS)).new()
    client = Client(context)
    client.shake(ours)
    return client, ours


# ---- the handshake


def test_what_is_agreed_on() -> None:
    client, ours = shaken(client_context())
    assert ours.ready
    assert client.tls.version() == "TLSv1.3"
    assert client.tls.selected_alpn_protocol() == "h2"
    client.tls.write(b"said")
    assert list(ours.open(client.goes.read())) == [b"said"]
    client.came.write(ours.seal(b"answered"))
    assert client.tls.read(100) == b"answered"


def test_nothing_older_than_1_3() -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(TlsError, match="PROTOCOL"):
        shaken(context)


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)], ids=["none", "another"])
def test_http2_has_to_be_agreed_on(alpn: tuple[str, ...]) -> None:
    with pytest.raises(TlsError, match="HTTP/2"):
        shaken(client_context(alpn=alpn))


def test_no_connection_resumes_another() -> None:
    context = client_context()
    client, ours = shaken(context)
    client.came.write(ours.seal(b"x"))
    client.tls.read(10)  # tickets would stand in front of it
    assert client.tls.session is None or not client.tls.session.has_ticket


def test_bytes_one_at_a_time() -> None:
    ours, client = showing(lambda: OURS).new(), Client(client_context())
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    for byte in client.goes.read():
        assert list(ours.open(bytes([byte]))) == []
    client.came.write(ours.outgoing())
    client.tls.do_handshake()
    client.tls.write(b"first")
    got = [part for byte in client.goes.read() for part in ours.open(bytes([byte]))]
    assert got == [b"first"]


def test_more_than_is_looked_at_together() -> None:
    client, ours = shaken(client_context())
    said = os.urandom(600_000)
    client.tls.write(said)
    pieces = [bytes(piece) for piece in ours.open(client.goes.read())]
    assert len(pieces) > 1
    assert b"".join(pieces) == said


# ---- clients of an authority


def test_clients_of_one_authority_alone(tmp_path: Any) -> None:
    of = showing(lambda: OURS, client_ca=OTHER[1].decode())
    context = client_context()
    with pytest.raises(TlsError, match="CERTIFICATE"):
        shaken(context, of)
    for own, fine in ((OTHER, True), (OURS, False)):
        (tmp_path / "own.pem").write_bytes(b"".join(own))
        context = client_context()
        context.load_cert_chain(tmp_path / "own.pem")
        if fine:
            assert shaken(context, of)[1].ready
            continue
        with pytest.raises(TlsError, match="CERTIFICATE"):
            shaken(context, of)


# ---- identities


def shown(of: TlsContext) -> bytes:
    client, _ = shaken(client_context(), of)
    der = client.tls.getpeercert(binary_form=True)
    assert der
    return ssl.DER_cert_to_PEM_cert(der).encode()


def test_new_connections_show_the_identity_of_the_moment() -> None:
    now: list[Pem] = [OURS]
    of = showing(lambda: now[0])
    assert shown(of) == OURS[1]
    before = of.new()
    now[0] = OTHER
    assert shown(of) == OTHER[1]
    client = Client(client_context())
    client.shake(before)  # began before, and is not disturbed
    assert before.ready


def test_an_identity_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = os.memfd_create
    monkeypatch.setattr(os, "memfd_create", lambda *a: made.append(1) or real(*a))
    of = showing(lambda: (bytes(OURS[0]), bytes(OURS[1])))
    for _ in range(3):
        of.new()
    assert made == [1]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_keys_are_overwritten_and_on_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen through a second descriptor of the file that is handed to OpenSSL."""
    kept: list[int] = []
    paths: list[str] = []
    real = os.memfd_create

    def create(name: str, flags: int) -> int:
        assert flags & os.MFD_CLOEXEC
        file = real(name, flags)
        kept.append(os.dup(file))
        return file

    load = ssl.SSLContext.load_cert_chain

    def watched(context: ssl.SSLContext, path: str) -> None:
        paths.append(str(Path(path).readlink()))
        assert OURS[0] in os.pread(kept[-1], 2**16, 0)
        load(context, path)

    monkeypatch.setattr(os, "memfd_create", create)
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    before = open_files()
    showing(lambda: OURS).new()
    assert paths == ["/memfd:identity (deleted)"]
    left = os.pread(kept[0], 2**16, 0)
    assert left == bytes(len(b"\n".join(OURS)))
    os.close(kept[0])
    assert open_files() == before


def test_keys_are_overwritten_when_they_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    real = os.memfd_create

    def create(name: str, flags: int) -> int:
        file = real(name, flags)
        kept.append(os.dup(file))
        return file

    monkeypatch.setattr(os, "memfd_create", create)
    of = showing(lambda: (OURS[0], b"no certificate"))
    with pytest.raises(ssl.SSLError):
        of.new()
    assert set(os.pread(kept[0], 2**16, 0)) == {0}
    os.close(kept[0])


# ---- what is no TLS


def test_garbage_instead_of_a_handshake() -> None:
    with pytest.raises(TlsError):
        list(showing(lambda: OURS).new().open(b"GET / HTTP/1.1\r\n\r\n"))


def test_garbage_behind_a_handshake() -> None:
    client, ours = shaken(client_context())
    with pytest.raises(TlsError) as refused:
        list(ours.open(GARBAGE))
    client.came.write(refused.value.alert)
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
        client.tls.read(1)


def test_what_was_said_before_garbage() -> None:
    client, ours = shaken(client_context())
    client.tls.write(b"fine")
    pieces = ours.open(client.goes.read() + GARBAGE)
    assert bytes(next(pieces)) == b"fine"
    with pytest.raises(TlsError):
        next(pieces)


def test_the_other_side_says_that_nothing_comes() -> None:
    client, ours = shaken(client_context())
    client.tls.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert list(ours.open(client.goes.read())) == [b"last"]
    assert ours.ended


# ---- of a server


@asynccontextmanager
async def served(*functions: Any) -> AsyncIterator[Server]:
    async with serving(*functions, tls=showing(lambda: OURS)) as server:
        yield server


async def raw(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port_of(server))


@in_loop
async def test_a_call() -> None:
    async with served() as server, wire(server, context=client_context()) as caller:
        stream = caller.call("unary_unary_echo", b"x")
        assert (await caller.answer(stream)).data == message(b"x")
        (ours,) = server._connections
        assert ours._timers["handshake"].cancelled()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "half"])
@in_loop
async def test_a_handshake_that_does_not_come(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HANDSHAKE_SECONDS", 0.05)
    async with served() as server:
        reader, writer = await raw(server)
        writer.write(said)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: not server._connections)


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(1000)],
    ids=["HTTP/1.1", "HTTP/2", "zeros"],
)
@in_loop
async def test_whoever_does_not_speak_tls_is_told_and_gone(said: bytes) -> None:
    async with served() as server:
        reader, writer = await raw(server)
        writer.write(said)
        assert (await reader.read(1)) in (b"\x15", b"")  # an alert
        writer.close()
        await until(lambda: not server._connections)


@in_loop
async def test_whoever_hangs_up_in_a_handshake_is_gone() -> None:
    async with served() as server:
        _, writer = await raw(server)
        await until(lambda: server._connections)
        writer.write(b"\x16\x03\x01")
        writer.transport.abort()
        await until(lambda: not server._connections)


class Memory:
    """A client whose records are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.client = Client(client_context())

    async def shake(self) -> bytes:
        """Its last flight, which is not sent."""
        tls, came, goes = self.client.tls, self.client.came, self.client.goes
        while True:
            try:
                tls.do_handshake()
                return goes.read()
            except ssl.SSLWantReadError:
                self.writer.write(goes.read())
                came.write(await self.reader.read(2**16))


GARBAGE = b"\x17\x03\x03\x00\x20" + bytes(32)


@pytest.mark.parametrize("together", [True, False], ids=["with the handshake", "later"])
@in_loop
async def test_garbage_instead_of_a_record(together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when there is something to say that can no longer be sealed."""
    received: list[bool] = []
    real = connections.Connection.buffer_updated

    def watched(ours: connections.Connection, size: int) -> None:
        received.append(False)
        real(ours, size)
        received[-1] = True

    monkeypatch.setattr(connections.Connection, "buffer_updated", watched)
    async with served() as server:
        peer = Memory(*await raw(server))
        last = await peer.shake()
        peer.writer.write(last + GARBAGE if together else last)
        if not together:
            await until(lambda: next(iter(server._connections))._tls.ready)
            peer.writer.write(GARBAGE)
        await until(lambda: not server._connections)
        assert all(received)  # asyncio says nothing of what OpenSSL raises
        peer.client.came.write(await peer.reader.read())
        with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
            [*iter(lambda: peer.client.tls.read(2**14), b"")]
        peer.writer.close()


@in_loop
async def test_garbage_while_an_answer_waits() -> None:
    """What is written behind a broken record is no error of ours."""
    async with served() as server:
        peer = Memory(*await raw(server))
        peer.writer.write(await peer.shake())
        fields = hpack.Encoder().encode([*CALL[:2], (":path", "/test/other"), *CALL[3:]])
        headers = HeadersFrame(1, fields, flags=["END_HEADERS"])
        said = PREFACE + SettingsFrame(0).serialize() + headers.serialize()
        peer.client.tls.write(said)
        peer.writer.write(peer.client.goes.read() + GARBAGE)
        await until(lambda: not server._connections)
        peer.writer.close()


@in_loop
async def test_a_client_that_says_it_ends() -> None:
    async with served() as server:
        peer = Memory(*await raw(server))
        peer.writer.write(await peer.shake())
        with pytest.raises(ssl.SSLWantReadError):
            peer.client.tls.unwrap()
        peer.writer.write(peer.client.goes.read())
        await until(lambda: not server._connections)
        peer.writer.close()


@in_loop
async def test_a_server_that_stops_waits_for_no_handshake() -> None:
    async with served() as server:
        reader, writer = await raw(server)
        await until(lambda: server._connections)
        await server.stop(100)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@in_loop
async def test_grpcs_own_client() -> None:
    """Each of the four kinds, and gzip."""

    async def unary_stream_twice(request: memoryview, _context: Any) -> Any:
        for _ in range(2):
            yield bytes(request)

    async def stream_unary_join(_requests: Any, context: Any) -> bytes:
        return b"".join([each async for each in context])

    def texts() -> Any:
        yield b"a"
        yield b"b"

    credentials = grpc.ssl_channel_credentials(OURS[1])
    options = [("grpc.ssl_target_name_override", "sealserve.internal")]
    for gzip in (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate):
        async with (
            served(unary_stream_twice, stream_unary_join) as server,
            grpc.aio.secure_channel(
                f"127.0.0.1:{port_of(server)}", credentials, options, gzip
            ) as channel,
        ):
            long = b"text " * 100_000
            assert await channel.unary_unary("/test/unary_unary_echo")(long) == long
            twice = channel.unary_stream("/test/unary_stream_twice")(long)
            assert [each async for each in twice] == [long, long]
            assert await channel.stream_unary("/test/stream_unary_join")(texts()) == b"ab"
            both = channel.stream_stream("/test/stream_stream_echo")(texts())
            assert [each async for each in both] == [b"a", b"b"]
    assert module._PROTOCOL == "h2"
