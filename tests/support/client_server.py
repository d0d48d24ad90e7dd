"""A server of ours in a thread that writes down every call, and a relay that counts every byte."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc
import numpy as np

from sealserve.attestation.evidence import EvidenceSource
from sealserve.inference.server.challenge import Answer, Answerer, ChallengeWindow
from sealserve.inference.server.config import Limits
from sealserve.inference.server.handed import Certificates
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.server.predictions import Predictions
from sealserve.inference.server.registry import Registry, ServedSession
from sealserve.inference.server.service import InferenceService
from sealserve.inference.server.table import FIRST_WORKER, Table
from sealserve.inference.wire import names
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.spec import TensorSpec
from sealserve.inference.wire.tensor import Tensor

MODEL = "breast-cancer"
CONFIG = bytes([0xC0] * 32)
STOP_SECONDS = 10.0
T = TypeVar("T")
Rewrite = Callable[[bytes, Any], bytes | Awaitable[bytes]]
Stream = Callable[[Any, Any], Awaitable[None]]
AnswerNonces = Callable[[frozenset[bytes]], Answer]


class Identity(Protocol):
    """A TLS key and its certificates, good or bad."""

    spki_sha256: bytes

    @property
    def certificates(self) -> Certificates: ...
    @property
    def key_pem(self) -> bytes: ...
    @property
    def certificate_pem(self) -> bytes: ...


class Doubler:
    """A model that doubles its input. `gate`: closed, a prediction waits until it opens."""

    inputs = (TensorSpec("x", "FP32", (-1, 3)),)
    outputs = (TensorSpec("twice", "FP32", (-1, 3)), TensorSpec("rows", "INT64", (1,)))

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.runs = 0

    def run(self, request: InferRequest) -> tuple[Tensor, ...]:
        self.runs += 1
        self.started.set()
        self.gate.wait()
        (x,) = request.inputs
        answers = (
            Tensor("twice", "FP32", x.shape, np.add(x.data, x.data, dtype=np.float32)),
            Tensor("rows", "INT64", (1,), np.array([x.shape[0]], np.int64)),
        )
        return tuple(t for t in answers if not request.outputs or t.name in request.outputs)


@dataclass
class Record:
    """Every call that reached the server, by method, with the length of its message."""

    calls: list[tuple[str, int]] = field(default_factory=list)

    def count(self, method: str) -> int:
        return sum(1 for seen, _ in self.calls if seen == method)

    @property
    def prediction_bytes(self) -> int:
        return sum(size for seen, size in self.calls if seen == names.MODEL_INFER)


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.begin(work).result(STOP_SECONDS)

    def stop(self) -> None:
        self.run(self._cancel_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        self._loop.close()

    async def _cancel_the_rest(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class LiveServer:
    """The server's own service over a good machine, with single parts replaced by bad ones.

    answer: what GetEvidence says instead. rewrites: by method, what becomes of a good answer.
    stream: what ModelStreamInfer does instead. compression: of every answer.
    """

    def __init__(
        self,
        source: EvidenceSource,
        root: bytes,
        *,
        identity: Identity | None = None,
        answer: AnswerNonces | None = None,
        rewrites: Mapping[str, Rewrite] | None = None,
        stream: Stream | None = None,
        compression: grpc.Compression | None = None,
    ) -> None:
        self._compression = compression
        self.stream = stream
        self.model = Doubler()
        self.record = Record()
        chosen: Any = identity or TlsIdentity(source)
        self.identity = chosen
        self.rewrites = dict(rewrites or {})
        self.registry = Registry([ServedSession(MODEL, "1", root, self.model)])  # type: ignore[arg-type]
        answerer = Answerer(source, chosen, config=CONFIG, roots=[root])
        self._answer = answer or answerer.answer
        self._evidence = ThreadPoolExecutor(1)
        self._loop = LoopThread()
        self.port = self._loop.run(self._start())

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serve_instead(self, root: bytes, name: str = MODEL) -> None:
        """From now on the model has this root: a reload under the feet of whoever is connected."""
        self.registry._models.clear()
        self.registry._models[name] = {
            "1": ServedSession(name, "1", root, self.model)  # type: ignore[arg-type]
        }

    def serve_also(self, root: bytes, version: str, name: str = MODEL) -> None:
        """One more model, or one more version of one."""
        served = ServedSession(name, version, root, self.model)  # type: ignore[arg-type]
        self.registry._models.setdefault(name, {})[version] = served

    def stop(self) -> None:
        self.model.gate.set()
        self._loop.run(self._server.stop(None))
        self._predictions.close()
        self._evidence.shutdown()
        self._loop.stop()

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _start(self) -> int:
        self._predictions = Predictions(Limits(running=4))
        service = InferenceService(
            self.registry,
            ChallengeWindow(self._answer, self._evidence),
            self._predictions,
            Table([model.root.hex() for model in self.registry], 1).slot(FIRST_WORKER),
            limits=Limits(),
            require_root=True,
        )
        self._server = grpc.aio.server(compression=self._compression)
        self._server.add_generic_rpc_handlers((_Recording(service.handlers(), self),))
        port = self._server.add_secure_port("127.0.0.1:0", self._credentials())
        await self._server.start()
        return int(port)

    def _credentials(self) -> grpc.ServerCredentials:
        def current() -> grpc.ServerCertificateConfiguration:
            pair = (self.identity.key_pem, self.identity.certificate_pem)
            return grpc.ssl_server_certificate_configuration([pair])

        return grpc.dynamic_ssl_server_credentials(current(), current)


class _Recording(grpc.GenericRpcHandler):  # type: ignore[misc]
    """In front of the service's handlers: writes each message down before anything looks at it."""

    def __init__(self, inner: tuple[Any, ...], server: LiveServer) -> None:
        self._inner = inner
        self._server = server

    def service(self, details: Any) -> Any:
        if details.method == names.MODEL_STREAM_INFER and self._server.stream is not None:
            return grpc.stream_stream_rpc_method_handler(self._server.stream)
        found = (handler.service(details) for handler in self._inner)
        handler = next((one for one in found if one is not None), None)
        if handler is None:
            return None
        if handler.response_streaming:

            async def streamed(messages: Any, context: Any) -> None:
                await handler.stream_stream(messages, _OnConnection(context, self._server))

            return grpc.stream_stream_rpc_method_handler(streamed)

        async def recorded(data: bytes, context: Any) -> bytes:
            self._server.record.calls.append((details.method, len(data)))
            answer: bytes = await handler.stream_unary(None, _Given(data, context, self._server))
            rewrite = self._server.rewrites.get(details.method)
            changed = rewrite(answer, context) if rewrite else answer
            return changed if isinstance(changed, bytes) else await changed

        return grpc.unary_unary_rpc_method_handler(recorded)


class _OnConnection:
    """gRPC's own context, which knows of no connection: all calls of a server are of one here."""

    def __init__(self, context: Any, connection: object) -> None:
        self._context = context
        self.connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class _Given(_OnConnection):
    """A call's context whose message was read already."""

    def __init__(self, message: bytes, context: Any, connection: object) -> None:
        super().__init__(context, connection)
        self._message = message

    async def read(self) -> bytes:
        return self._message


def failing(
    code: grpc.StatusCode, *, times: int, pushback: str | None = None, words: str = "on purpose"
) -> Rewrite:
    """The first calls end with this status; pushback: value of gRPC's own key, if any."""
    left = iter(range(times))
    trailing = () if pushback is None else ((names.RETRY_PUSHBACK_KEY, pushback),)

    async def fail(data: bytes, context: Any) -> bytes:
        if next(left, None) is not None:
            await context.abort(code, words, trailing)
        return data

    return fail


def eventually(true: Callable[[], bool]) -> None:
    """Wait until it is; fail if it never is."""
    end = time.monotonic() + STOP_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


class Relay:
    """Stands between a client and servers and moves bytes without understanding them.

    route: port for the n-th connection, counted from 0; may be replaced at any time.
    connections: how many there were; open: how many there are.
    """

    def __init__(self, route: Callable[[int], int] | int) -> None:
        self.route = route
        self.bytes_up = 0
        self.bytes_down = 0
        self.connections = 0
        self.open = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = LoopThread()
        self._loop.run(self._start())

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Nobody gets through any more, and whoever was is cut off."""

        async def cut() -> None:
            self._listening.close()
            for writer in self._writers:
                writer.transport.abort()

        self._loop.run(cut())

    def hang_up(self) -> None:
        """Whoever is connected is cut off, and may connect again."""

        async def hang_up() -> None:
            for writer in self._writers:
                writer.transport.abort()

        self._loop.run(hang_up())

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.stop()

    async def _start(self) -> None:
        self._listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self.route if isinstance(self.route, int) else self.route(self.connections)
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            self._writers.add(far_writer)
            await asyncio.gather(
                self._pump(reader, far_writer, up=True), self._pump(far_reader, writer, up=False)
            )
        writer.transport.abort()
        self.open -= 1

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(64 * 1024):
                self.bytes_up += len(data) if up else 0
                self.bytes_down += 0 if up else len(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort() if writer.transport.is_closing() else writer.close()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]
