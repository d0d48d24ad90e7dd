"""`trustd run`: the service on its socket, from the ready line to SIGTERM."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from sealserve.keys.connection import SIMULATED
from sealserve.keys.keyid import host_and_port, vault_host
from sealserve.keys.trustd import app
from sealserve.keys.trustd.events import Event, log
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.peers import HANDSHAKE_SECONDS, Limited
from sealserve.keys.trustd.service import Service
from sealserve.keys.trustd.throttle import Buckets, Rates, Throttle
from sealserve.native.errors import UnavailableError

RENEW_SECONDS = 24 * 60 * 60
RENEW_AGAIN_SECONDS = 60
DRAIN_SECONDS = 10  # a release takes well under one
HANG_UP_SECONDS = 0.2  # after its last answer, at the end
QUIET_SECONDS = 10.0  # a flood is one fact, not a line for each connection
MAX_CONNECTIONS = 256  # handshakes and bodies in memory at once
_SPARE_DESCRIPTORS = 16  # for the database, and a certificate on its way into TLS


@dataclass(frozen=True, slots=True)
class Ready:
    """What the ready line tells. ca_sha256: 64 hex digits, what servers pin."""

    address: str
    listen: str
    platform: str
    ca_sha256: str

    def line(self) -> str:
        """The one line of `trustd run` on stdout."""
        kind = "simulated, proves nothing about hardware" if self.platform == SIMULATED else "real"
        place = "" if self.listen == self.address else f" on {self.listen}"
        return (
            f"ready: attestation service and key vault {self.address}{place}; "
            f"machines {kind}; ca sha256 {self.ca_sha256}"
        )


def run(folder: Folder, rates: Rates, announce: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT. announce: called once, when it answers.

    Raises ConfigError, IntegrityError, UnavailableError (the port, the database).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold every key
    with closing(folder.records()) as records:
        service = Service(records)
        service.renew_keys(datetime.now(UTC))
        listener = bound(service.state.listen)
        state = service.state
        ready = Ready(
            address=state.address,
            listen=state.listen,
            platform=state.platform,
            ca_sha256=state.ca_sha256,
        )
        _limit_descriptors()
        server = _Server(config_of(service, rates), service, lambda: announce(ready))
        asyncio.run(server.serve([listener]))


class _Server(uvicorn.Server):
    """Announces when it answers, renews its certificates, and takes SIGTERM for success."""

    def __init__(
        self, config: uvicorn.Config, service: Service, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._announce = announce

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on either signal, without raising it again afterwards as uvicorn does."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        renewal = asyncio.ensure_future(self._renew_for_ever())
        try:
            yield
        finally:
            renewal.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, as uvicorn does, but for limits that it has no option for; then announce."""
        assert sockets is not None
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_Unforeseen())
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
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
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

    async def _renew_for_ever(self) -> None:
        pause = RENEW_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                self._service.renew(datetime.now(UTC))
            except Exception as error:  # those in use stay valid for weeks: try again
                log(Event.FAILED, what="renewal", error=type(error).__name__)
                pause = RENEW_AGAIN_SECONDS
            else:
                pause = RENEW_SECONDS


class _Unforeseen:
    """What happens outside of any request, such as no descriptor left: a line now and then."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if loop.time() < self._quiet_until:
            return
        self._quiet_until = loop.time() + QUIET_SECONDS
        error = context.get("exception")
        log(Event.FAILED, what="event loop", error=type(error).__name__)


def _limit_descriptors() -> None:
    """So many connections and no more: also those whose TLS handshake never ends."""
    in_use = len(list(Path("/proc/self/fd").iterdir()))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = in_use + MAX_CONNECTIONS + _SPARE_DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))


def config_of(service: Service, rates: Rates) -> uvicorn.Config:
    """How uvicorn is to serve this service: its routes, its TLS, its limits, and no log."""
    config = uvicorn.Config(
        Throttle(app.build(service), Buckets(rates)),
        http="h11",
        lifespan="off",
        ws="none",
        log_config=None,  # what is worth a line is a closed event
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    config.load()
    config.ssl = service.leaves.tls
    return config


def bound(listen: str) -> socket.socket:
    """A socket that listens there. Raises UnavailableError."""
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
            hint="is another trust service running there already?",
        ) from error
    return listener
