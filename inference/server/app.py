"""One server from its measured configuration to its last answer.

The order is the promise: the port is held, the keys are there, the certificates are made, every
model is opened and verified, and only then anything listens. SIGTERM and SIGINT stop new calls,
give those under way a limited time to finish, and end with success. SIGTERM before that wipes what
was opened, with success too. SIGHUP opens the files anew. `supervisor.py` says which process does
what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sealserve.inference.server.commands import Commanded
from sealserve.inference.server.config import ServerConfig
from sealserve.inference.server.handed import FindSource
from sealserve.inference.server.hardening import Namespace
from sealserve.inference.server.means import Means, Serving
from sealserve.inference.server.reception import reception_for
from sealserve.inference.server.supervisor import Supervisor
from sealserve.inference.server.table import TURNS, Table
from sealserve.inference.wire.address import format_address
from sealserve.keys.azure_identity import MANAGED, MachineIdentity
from sealserve.native.http2 import require_library


@dataclass(frozen=True, slots=True)
class Ready:
    """What the ready line tells."""

    host: str
    serving: Serving

    def line(self) -> str:
        """The one line a server prints on stdout."""
        told = self.serving
        models = ", ".join(
            f"model {name} version {version} root {root}" for name, version, root in told.models
        )
        return (
            f"ready: {models}; on {format_address(self.host, told.port)}; platform {told.platform};"
            f" evidence {told.evidence_seconds:.3f} s, release {told.release_seconds:.3f} s,"
            f" open {told.open_seconds:.3f} s; weights in {told.weights}{self._workers()}"
        )

    def _workers(self) -> str:
        pids = self.serving.workers
        return f"; workers {', '.join(map(str, pids))}" if len(pids) > 1 else ""


def run(
    config: ServerConfig,
    namespace: Namespace,
    find_source: FindSource,
    announce: Callable[[Ready], None],
    machine: MachineIdentity = MANAGED,
    commanded: Sequence[Commanded] = (),
) -> None:
    """Serve until a signal says stop. announce: called once, when every worker answers.

    find_source: called in each process that makes evidence. machine: as whom a vault of Azure's is
    asked; no part of what is measured. commanded: ends of who may ask for more. Raises
    UnavailableError without libnghttp2.
    """

    def tell(serving: Serving) -> None:
        announce(Ready(config.listen_host, serving))

    require_library()  # before any key is asked for
    roots = [root for model in config.models for root in model.roots]
    table = Table(roots, workers=TURNS * config.workers)
    means = Means(namespace, find_source, machine, tell, table, reception_for(config))
    Supervisor(config, means, commanded).run()
