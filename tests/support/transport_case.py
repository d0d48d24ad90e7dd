"""A server of our transport on an event loop of the test's own, and raw callers beside it.

What the loop would log is a failure of the test, and so is a task or a timer that is left.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import hpack
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from sealserve.inference.transport.server import Server, TransportLimits
from sealserve.inference.transport.tls import TlsContext
from support.http2_peer import CALL, FRAME_BYTES, PREFACE, Fields, message, parsed

SECONDS = 20.0  # that a test waits for what has to come
Pem = tuple[bytes, bytes]  # a key and its certificate
LIMITS = TransportLimits(
    message_bytes=2**20,
    metadata_bytes=16_384,
    connections=10,
    peer_connections=10,
    calls=10,
    streams=20,
    seconds=3600.0,
    grace=SECONDS,
    patience=SECONDS,
)
Test = Callable[..., Awaitable[None]]


def in_loop(test: Test) -> Callable[..., None]:
    """Run a test that is a coroutine. What the loop is told of errors goes to `told`."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(_watched(test(*args, **named)))

    return run


async def _watched(test: Awaitable[None]) -> None:
    loop: Any = asyncio.get_running_loop()
    loop.told = []
    loop.set_exception_handler(lambda _loop, context: loop.told.append(context))
    before = asyncio.all_tasks()
    async with asyncio.timeout(3 * SECONDS):
        await test
        while asyncio.all_tasks() != before:
            await asyncio.sleep(0.001)
    assert loop.told == []
    left = [timer for timer in loop._scheduled if not timer.cancelled()]
    assert len(left) <= 1, left  # that of this function


def told() -> list[dict[str, Any]]:
    """What the loop was told since this was asked."""
    loop: Any = asyncio.get_running_loop()
    loop.told, before = [], loop.told
    return list(before)


async def until(holds: Callable[[], object]) -> None:
    """Wait for what has to happen; a test that waits in vain fails."""
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.001)


# ---- the server


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Functions by the name of their method, each of the kind that its name begins with.

    `unary_unary_echo` serves `/test/unary_unary_echo`.
    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self._handlers = {f"/test/{each.__name__}": self._handler(each) for each in functions}

    @staticmethod
    def _handler(function: Callable[..., Any]) -> Any:
        kind = "_".join(function.__name__.split("_")[:2])
        return getattr(grpc, f"{kind}_rpc_method_handler")(function)

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


async def unary_unary_echo(request: memoryview, _context: Any) -> bytes:
    return bytes(request)


async def stream_stream_echo(_requests: Any, context: Any) -> None:
    async for each in context:
        await context.write(bytes(each))


async def unary_unary_forever(_request: bytes, _context: Any) -> bytes:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


@asynccontextmanager
async def serving(
    *functions: Callable[..., Any],
    limits: TransportLimits = LIMITS,
    tls: TlsContext | None = None,
    listener: socket.socket | None = None,
) -> AsyncIterator[Server]:
    """Stops at once, and everything it has has to be gone then."""
    server = Server(limits, lambda peer: peer.rpartition(":")[0])
    server.add_generic_rpc_handlers([Handlers(unary_unary_echo, stream_stream_echo, *functions)])
    server.listen(listener or bound(), tls)
    try:
        yield server
    finally:
        await server.stop(0)
    assert not server._connections
    assert not server._of_peers
    assert server._calls == 0


def bound(host: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.bind((host, 0))
    return made


def port_of(server: Server) -> int:
    return int(server._acceptors[0].listener.getsockname()[1])


def showing(identity: Callable[[], Pem], client_ca: str = "") -> TlsContext:
    """What connections show that come while `identity` gives this."""
    return TlsContext(lambda: identity()[0], lambda: identity()[1], client_ca)


def identity(name: str = "sealserve.internal") -> Pem:
    """A key and its certificate, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key_pem, certificate.public_bytes(serialization.Encoding.PEM)


def client_context(*, alpn: Iterable[str] = ("h2",)) -> ssl.SSLContext:
    """Who the other side is does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([*alpn])
    return context


# ---- a caller


@dataclass
class Answer:
    """What came of one stream. reset: the code, if it was reset."""

    headers: list[list[tuple[str, str]]] = field(default_factory=list)
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    @property
    def last(self) -> dict[str, str]:
        """The trailers, or the headers if there is nothing else."""
        return dict(self.headers[-1])

    @property
    def status(self) -> int:
        return int(self.last["grpc-status"])


class Wire:
    """A connection by hand. Reads whatever comes, unless `deaf`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int, deaf: bool
    ) -> None:
        self._reader, self.writer = reader, writer
        self._writes, self._reads = hpack.Encoder(), hpack.Decoder()
        self._next = 1
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []
        self.closed = False
        self.give(PREFACE, SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: window}))
        self._task = None if deaf else asyncio.create_task(self._read())

    def give(self, *parts: Frame | bytes) -> None:
        self.writer.write(b"".join(p if isinstance(p, bytes) else p.serialize() for p in parts))

    def begin(self, method: str, *more: tuple[str, str | bytes], end: bool = False) -> int:
        """The headers of a call; its stream. more: instead of, or beside, what calls have."""
        fields = {**dict(CALL), ":path": f"/test/{method}"}
        changed = [(name, value) for name, value in more if name in fields]
        fields.update(changed)  # type: ignore[arg-type]
        return self.begin_with(
            [*fields.items(), *(pair for pair in more if pair not in changed)], end
        )

    def begin_with(self, fields: Fields, end: bool = False) -> int:
        stream, self._next = self._next, self._next + 2
        self.answers[stream] = Answer()
        flags = ["END_HEADERS", *(["END_STREAM"] if end else [])]
        self.give(HeadersFrame(stream, self._writes.encode(list(fields)), flags=flags))
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = True) -> None:
        """In as many frames as it takes; nobody waits for leave."""
        while len(data) > FRAME_BYTES:
            self.give(DataFrame(stream, data[:FRAME_BYTES]))
            data = data[FRAME_BYTES:]
        self.give(DataFrame(stream, data, flags=["END_STREAM"] if end else []))

    def call(self, method: str, content: bytes = b"", *more: tuple[str, str | bytes]) -> int:
        stream = self.begin(method, *more)
        self.send(stream, message(content))
        return stream

    def cancel(self, stream: int) -> None:
        self.give(RstStreamFrame(stream, error_code=8))

    def allow(self, stream: int, size: int) -> None:
        self.give(WindowUpdateFrame(stream, window_increment=size))

    async def answer(self, stream: int) -> Answer:
        """Once it is over."""
        await until(lambda: self.answers[stream].over or self.closed)
        return self.answers[stream]

    async def close(self) -> None:
        self.writer.transport.abort()
        if self._task is not None:
            await self._task

    async def _read(self) -> None:
        data = b""
        try:
            while more := await self._reader.read(2**16):
                data += more
                while len(data) >= 9 and len(data) >= (size := 9 + int.from_bytes(data[:3], "big")):
                    for frame in parsed(data[:size]):
                        self._came(frame)
                    data = data[size:]
        except OSError:
            pass
        self.closed = True

    def _came(self, frame: Any) -> None:
        answer = self.answers.setdefault(frame.stream_id, Answer())
        if isinstance(frame, HeadersFrame):
            pairs = self._reads.decode(frame.data, raw=True)
            answer.headers.append([(n.decode(), v.decode("latin-1")) for n, v in pairs])
        elif isinstance(frame, DataFrame):
            answer.data += frame.data
        elif isinstance(frame, RstStreamFrame):
            answer.reset = int(frame.error_code)
        elif isinstance(frame, GoAwayFrame):
            self.goaways.append((int(frame.last_stream_id), int(frame.error_code)))
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.give(SettingsFrame(0, flags=["ACK"]))
        if "END_STREAM" in frame.flags:
            answer.ended = True


@asynccontextmanager
async def wire(
    server: Server | int | str | socket.socket,
    *,
    window: int = 65_535,
    context: ssl.SSLContext | None = None,
    deaf: bool = False,
) -> AsyncIterator[Wire]:
    """server: itself, its port, its path, or a connection to it. deaf: nothing is ever read."""
    if isinstance(server, str):
        pair = await asyncio.open_unix_connection(server)
    elif isinstance(server, socket.socket):
        name = None if context is None else ""
        pair = await asyncio.open_connection(sock=server, ssl=context, server_hostname=name)
    else:
        port = server if isinstance(server, int) else port_of(server)
        pair = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    made = Wire(*pair, window, deaf)
    try:
        yield made
    finally:
        await made.close()
