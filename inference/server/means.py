"""What a supervisor is given beside its configuration, and what it announces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sealserve.inference.server.handed import FindSource
from sealserve.inference.server.hardening import Namespace
from sealserve.inference.server.reception import Reception
from sealserve.inference.server.table import Table
from sealserve.keys.azure_identity import MachineIdentity


@dataclass(frozen=True, slots=True)
class Serving:
    """What the ready line tells. models: name, version and root (hex) of each. workers: pids."""

    port: int
    models: tuple[tuple[str, str, str], ...]
    platform: str
    weights: str
    workers: tuple[int, ...]
    evidence_seconds: float
    release_seconds: float
    open_seconds: float


@dataclass(frozen=True, slots=True)
class Means:
    """What a server is made with, none of it measured.

    find_source: the way to evidence, for each process that needs one. machine: as whom a vault of
    Azure's is asked. announce: called once, when all workers listen. table: what all count in.
    reception: of the operator, if he asked for one.
    """

    namespace: Namespace
    find_source: FindSource
    machine: MachineIdentity
    announce: Callable[[Serving], None]
    table: Table
    reception: Reception | None = None
