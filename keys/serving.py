"""HTTP for services of ours: a uvicorn with our limits, from its socket to SIGTERM."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from sealserve.keys.keyid import host_and_port, vault_host
from sealserve.keys.peers import HANDSHAKE_SECONDS, Limited
from sealserve.native.errors import UnavailableError

HANG_UP_SECONDS = 0.2  # after its last answer, at the end
QUIET_SECONDS = 10.0  # a flood is one fact, not a line for each connection
MAX_CONNECTIONS = 256  # handshakes and bodies in memory at once
_SPARE_DESCRIPTORS = 16  # for a database, what is asked elsewhere, a certificate on its way


class Server(uvicorn.Server):
    """Announces when it answers, and takes SIGTERM for success.

    meanwhile: runs beside it and ends with it. failed: told what kind of error happened outside of
    any request.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        announce: Callable[[], None],
        failed: Callable[[str], None],
        meanwhile: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0),
    ) -> None:
        super().__init__(config)
        self._announce = announce
        self._failed = failed
        self._meanwhile = meanwhile

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on either signal, without raising it again afterwards as uvicorn does."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        beside = asyncio.ensure_future(self._meanwhile())
        try:
            yield
        finally:
            beside.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, as uvicorn does, but for limits that it has no option for; then announce."""
        assert sockets is not None
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_Unforeseen(self._failed))
        connect = partial(
            Limited,
            peers=Counter(),
            config=self.config,
            server_state=self.server_state,
            app_state={},
            _loop=loop,
        )
        self.servers = [
            await loop.create_server(
                connect,
                sock=each,
                ssl=self.config.ssl,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self.config.ssl else None,
                backlog=MAX_CONNECTIONS,
            )
            for each in sockets
        ]
        self.started = True
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is under way, wait for nobody who has his answer."""
        hanging_up = asyncio.ensure_future(self._hang_up())
        try:
            await super().shutdown(sockets)
        finally:
            hanging_up.cancel()

    async def _hang_up(self) -> None:
        """End idle connections. Closing them politely waits for a goodbye that clients, who keep
        connections for later and do not look at them, never say.
        """
        before: set[Limited] = set()
        while True:
            open_now = self.server_state.connections
            idle = {each for each in open_now if isinstance(each, Limited) and each.idle}
            for connection in before & idle:
                connection.transport.abort()
            before = idle
            await asyncio.sleep(HANG_UP_SECONDS)


class _Unforeseen:
    """What happens outside of any request, such as no descriptor left: a word now and then."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._quiet_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if loop.time() < self._quiet_until:
            return
        self._quiet_until = loop.time() + QUIET_SECONDS
        self._failed(type(context.get("exception")).__name__)


def config_of(
    app: ASGIApp, *, drain_seconds: int, tls: ssl.SSLContext | None = None
) -> uvicorn.Config:
    """How uvicorn is to serve: these routes, our limits, and no log of its own."""
    config = uvicorn.Config(
        app,
        http="h11",
        lifespan="off",
        ws="none",
        log_config=None,  # what is worth a line is a closed event
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=drain_seconds,
    )
    config.load()
    config.ssl = tls
    return config


def limit_descriptors() -> None:
    """So many connections and no more: also those whose TLS handshake never ends."""
    in_use = len(list(Path("/proc/self/fd").iterdir()))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = in_use + MAX_CONNECTIONS + _SPARE_DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))


def bound(listen: str, *, what: str) -> socket.socket:
    """A socket that listens there. what: we call ourselves. Raises UnavailableError."""
    host, port = host_and_port(vault_host(listen))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, every answer
    # waits for a delayed acknowledgement, some 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"cannot listen on {listen}: {error.strerror or error}",
            hint=f"is another {what} running there already?",
        ) from error
    return listener
