"""A server of gRPC: what it listens on, whom it lets in, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc

from sealserve.inference.transport.acceptor import NOBODY, Acceptor, Rivals
from sealserve.inference.transport.connection import NOTICE_SECONDS, Connection, peer_at
from sealserve.inference.transport.metadata import Metadata
from sealserve.inference.transport.methods import Method
from sealserve.inference.transport.tls import TlsContext
from sealserve.native.http2 import require_library


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What all connections together may take, and one of them.

    connections, peer_connections: in all, and of one peer. calls: in all. streams: of one
    connection. seconds: age at which a connection is ended. grace: seconds that its calls have
    then. patience: seconds that a finished answer waits to be taken.
    """

    message_bytes: int
    metadata_bytes: int
    connections: int
    peer_connections: int
    calls: int
    streams: int
    seconds: float
    grace: float
    patience: float


class _Asked(NamedTuple):
    """`grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: Metadata


class Server:
    """Used from one event loop. Handlers are added before anything listens."""

    def __init__(
        self,
        limits: TransportLimits,
        peer_of: Callable[[str], str],
        rivals: Rivals = NOBODY,
    ) -> None:
        """peer_of: whom an address counts as. rivals: who else takes connections where this does.

        Raises UnavailableError without libnghttp2.
        """
        require_library()
        self.limits = limits
        self._peer_of = peer_of
        self._rivals = rivals
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._methods: dict[bytes, Method] = {}  # as many as there are
        self._acceptors: list[Acceptor] = []
        self._connections: set[Connection] = set()
        self._of_peers: Counter[str] = Counter()
        # For what is long: zlib leaves the interpreter's lock alone, and so the event loop.
        self.unpacking: Executor = ThreadPoolExecutor(1, "sealserve-unpack")
        self._calls = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """As of a `grpc.aio` server."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, _service: str, _handlers: Any) -> None:
        """Not needed: a shorter way to handlers that were added the other way as well."""

    def listen(self, listener: socket.socket, tls: TlsContext | None) -> None:
        """Serve on this socket, which is bound. tls: None for one that only its owner reaches.

        Raises OSError if somebody else listens there.
        """

        def begin(plain: socket.socket, address: Any) -> asyncio.Task[None] | None:
            return self._begin(plain, peer_at(address), tls)

        self._acceptors.append(Acceptor(listener, self._rivals, begin))

    async def stop(self, grace: float) -> None:
        """No new calls; those under way have that many seconds."""
        while self._acceptors:
            await self._acceptors.pop().close()
        for connection in list(self._connections):
            connection.retire()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            await self._end_calls()
        self.unpacking.shutdown(wait=False, cancel_futures=True)

    async def _end_calls(self) -> None:
        for connection in list(self._connections):
            for call in connection.calls:
                call.stop(grpc.StatusCode.UNAVAILABLE, "this server was stopped")
        await asyncio.sleep(NOTICE_SECONDS)  # for their handlers to end and their callers to hear
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()

    def _begin(
        self, plain: socket.socket, peer: str, tls: TlsContext | None
    ) -> asyncio.Task[None] | None:
        """What was taken becomes a connection; refused before anything is made for it."""
        self._rivals.took()
        with ExitStack() as undone:
            undone.callback(plain.close)
            undone.callback(self._rivals.lost)
            if not self._has_room(peer):
                return None
            connection = Connection(self, None if tls is None else tls.new(), peer)
            undone.pop_all()
        self._connections.add(connection)
        self._of_peers[self._peer_of(peer)] += 1
        self._empty.clear()
        return asyncio.get_running_loop().create_task(self._connect(connection, plain))

    def _has_room(self, peer: str) -> bool:
        limits = self.limits
        full = len(self._connections) >= limits.connections
        return not full and self._of_peers[self._peer_of(peer)] < limits.peer_connections

    async def _connect(self, connection: Connection, plain: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: connection, plain)
        except BaseException:
            plain.close()
            self.leave(connection)
            raise

    # ---- connections call these

    def leave(self, connection: Connection) -> None:
        """It is over."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._rivals.lost()
        peer = self._peer_of(connection.peer)
        self._of_peers[peer] -= 1
        if not self._of_peers[peer]:
            del self._of_peers[peer]
        if not self._connections:
            self._empty.set()

    def method(self, path: bytes, metadata: Metadata) -> Method | None:
        """Who serves calls of that path."""
        found = self._methods.get(path)
        if found is None:
            asked = _Asked(path.decode("latin-1"), metadata)
            for each in self._handlers:
                handler = each.service(asked)
                if handler is not None:
                    found = self._methods[path] = Method.of(handler)
                    break
        return found

    @property
    def is_full(self) -> bool:
        """Whether there are as many calls as there may be."""
        return self._calls >= self.limits.calls

    def begin(self) -> None:
        """One more call; `ended` follows."""
        self._calls += 1

    def ended(self, _call: Any) -> None:
        self._calls -= 1
