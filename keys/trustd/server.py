"""`trustd run`: the service on its socket, from the ready line to SIGTERM."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import uvicorn

from sealserve.keys import serving
from sealserve.keys.connection import SIMULATED
from sealserve.keys.trustd import app
from sealserve.keys.trustd.events import Event, log
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.service import Service
from sealserve.keys.trustd.throttle import Buckets, Rates, Throttle
from sealserve.native import dumps

RENEW_SECONDS = 24 * 60 * 60
RENEW_AGAIN_SECONDS = 60
DRAIN_SECONDS = 10  # a release takes well under one


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
    dumps.forbid()
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
        serving.limit_descriptors()
        server = serving.Server(
            config_of(service, rates),
            announce=lambda: announce(ready),
            failed=lambda error: log(Event.FAILED, what="event loop", error=error),
            meanwhile=lambda: _renew_for_ever(service),
        )
        asyncio.run(server.serve([listener]))
        service.settle()


async def _renew_for_ever(service: Service) -> None:
    pause = RENEW_SECONDS
    while True:
        await asyncio.sleep(pause)
        try:
            service.renew(datetime.now(UTC))
        except Exception as error:  # those in use stay valid for weeks: try again
            log(Event.FAILED, what="renewal", error=type(error).__name__)
            pause = RENEW_AGAIN_SECONDS
        else:
            pause = RENEW_SECONDS


def config_of(service: Service, rates: Rates) -> uvicorn.Config:
    """How uvicorn is to serve this service."""
    routes = Throttle(app.build(service), Buckets(rates))
    return serving.config_of(routes, drain_seconds=DRAIN_SECONDS, tls=service.leaves.tls)


def bound(listen: str) -> socket.socket:
    """A socket that listens there. Raises UnavailableError."""
    return serving.bound(listen, what="trust service")
