"""Sidecars of the tests: a log that is kept, a machine that can go away, a port to ask at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from sealserve.attestation import Evidence
from sealserve.attestation.simulated import Machine
from sealserve.keys import serving
from sealserve.keys.sidecar import app
from sealserve.keys.sidecar.events import Event, Log
from sealserve.keys.sidecar.service import Sidecar
from sealserve.native.errors import UnavailableError
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA
from support.keys_foreign_client import ForeignClient
from support.keys_trustd import LocalTrustd, body_of, release_policy
from support.ports import free_port

OCTETS = bytes(range(7, 39))
USER_AGENT = "ConfidentialSkrContainer of a test"


class Events(Log):
    """A log that is kept, and still takes exactly the fields of each event."""

    def __init__(self) -> None:
        super().__init__("trace")
        self.kept: list[tuple[Event, dict[str, Any]]] = []

    def __call__(self, event: Event, **fields: Any) -> None:
        super().__call__(event, **fields)
        self.kept.append((event, fields))


class Source:
    """A machine that can go away. asked: the claims it was asked to attest."""

    platform = "simulated"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.asked: list[bytes] = []
        self.gone = False

    def evidence(self, claims: bytes) -> Evidence:
        self.asked.append(claims)
        if self.gone:
            raise UnavailableError("the platform went away", hint="call it back")
        return self._machine.evidence(claims)


@dataclass
class Case:
    """A sidecar, the machine it runs on, and the trust service it may ask. vault: HOST:PORT."""

    sidecar: Sidecar
    source: Source
    vault: str
    trustd: LocalTrustd
    log: Events = field(default_factory=Events)

    @property
    def digest(self) -> str:
        return self.trustd.connection.authority().sha256


def bring(
    trustd: LocalTrustd, name: str, jwk: dict[str, object], host_data: bytes = HOST_DATA
) -> None:
    policy = build(trustd.issuer, host_data.hex(), simulated=True)
    body = {
        "key": jwk,
        "attributes": {"exportable": True},
        "release_policy": release_policy(policy),
    }
    trustd.service.bring(trustd.owner, name, body_of(body))


@contextmanager
def listening(sidecar: Sidecar) -> Iterator[ForeignClient]:
    """The sidecar's REST on a port of the loopback, in a thread."""
    port = free_port()
    listener = serving.bound(f"127.0.0.1:{port}", what="sidecar")
    routes = app.build(sidecar, app.names_of("127.0.0.1", port))
    server = uvicorn.Server(serving.config_of(routes, drain_seconds=5))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield ForeignClient(f"127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
