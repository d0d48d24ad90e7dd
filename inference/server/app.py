"""One server from its measured configuration to its last answer.

The order is the promise: the port is tried, the key and the certificates are made, every model is
opened and verified, and only then anything listens. SIGTERM and SIGINT stop new calls, give those
under way a limited time to finish, and end with success. SIGTERM before that wipes what was opened,
with success too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from sealserve.attestation.evidence import EvidenceSource
from sealserve.inference.server.config import ServerConfig
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.hardening import Hardened
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.server.memory import choose, swap_is_on
from sealserve.inference.server.opening import open_all, weights_bytes
from sealserve.inference.server.port import require_free_port
from sealserve.inference.server.release import opener_for
from sealserve.inference.server.server import Server
from sealserve.inference.server.table import FIRST_WORKER, Table
from sealserve.inference.wire.address import format_address
from sealserve.keys.azure_identity import MANAGED, MachineIdentity


@dataclass(frozen=True, slots=True)
class Ready:
    """What the ready line tells. models: name, version and root (hex) of each."""

    host: str
    port: int
    models: tuple[tuple[str, str, str], ...]
    platform: str
    weights: str
    config_sha256: str
    evidence_seconds: float
    release_seconds: float
    open_seconds: float

    def line(self) -> str:
        """The one line a server prints on stdout."""
        models = ", ".join(
            f"model {name} version {version} root {root}" for name, version, root in self.models
        )
        return (
            f"ready: {models}; on {format_address(self.host, self.port)}; platform {self.platform};"
            f" evidence {self.evidence_seconds:.3f} s, release {self.release_seconds:.3f} s,"
            f" open {self.open_seconds:.3f} s; weights in {self.weights}"
        )


def run(
    config: ServerConfig,
    hardened: Hardened,
    source: EvidenceSource,
    announce: Callable[[Ready], None],
    machine: MachineIdentity = MANAGED,
) -> None:
    """Serve until a signal says stop. announce: called once, when the server answers.

    machine: as whom a vault of Azure's is asked; no part of what is measured.
    """
    signal.signal(signal.SIGTERM, _give_up)
    require_free_port(config.listen_host, config.listen_port)
    log(Event.PLATFORM_FOUND, platform=source.platform)
    with choose(hardened, weights_bytes(config), swap=swap_is_on()) as memory:
        log(Event.HARDENED, weights=memory.way, why_no_mount=hardened.why_no_mount)
        opener = opener_for(config.keys, source, machine)
        started = time.monotonic()
        identity = TlsIdentity(source)
        evidence_seconds = time.monotonic() - started
        log(Event.CERTIFICATES_MADE, seconds=round(evidence_seconds, 4))
        opened = open_all(config, opener, memory)
    table = Table([root for model in config.models for root in model.roots], workers=1)
    for model in opened.registry:
        table.describe(model.root.hex(), model.name, model.version)
    slot = table.slot(FIRST_WORKER)
    slot.begin()
    log.count = slot.logged
    server = Server(config, source, identity, opened, slot)

    def tell(port: int) -> None:
        log(Event.READY, host=config.listen_host, port=port, models=len(tuple(opened.registry)))
        announce(
            Ready(
                host=config.listen_host,
                port=port,
                models=tuple((m.name, m.version, m.root.hex()) for m in opened.registry),
                platform=source.platform,
                weights=memory.way,
                config_sha256=config.sha256().hex(),
                evidence_seconds=evidence_seconds,
                release_seconds=opened.release_seconds,
                open_seconds=opened.open_seconds,
            )
        )

    if not asyncio.run(_until_signalled(server, tell)):
        # The interpreter would wait for the threads that were left behind, for ever if need be.
        sys.stdout.flush()
        os._exit(0)


def _give_up(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM while models are opened: whoever holds something secret wipes it on the way out."""
    raise SystemExit(0)


async def _until_signalled(server: Server, tell: Callable[[int], None]) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tell(await server.start())
    await stop.wait()
    return await server.stop()
