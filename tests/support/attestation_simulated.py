"""A simulated root for the whole test session, and machines and evidence under it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealserve.attestation import Evidence, Roots, TlsClaims
from sealserve.attestation.simulated import Machine, SimulatedRoot

NOW = datetime.now(UTC).replace(microsecond=0)  # a root made for the tests is that young
HOST_DATA = bytes(range(32))
CLAIMS = TlsClaims(bytes([7] * 32)).encode()


@pytest.fixture(scope="session")
def simulated_root_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `--root-dir` that already holds a root; making one takes seconds."""
    directory = tmp_path_factory.mktemp("simulated-root")
    SimulatedRoot.load_or_create(directory)
    return directory


@pytest.fixture(scope="session")
def simulated_root(simulated_root_dir: Path) -> SimulatedRoot:
    """The root of that directory."""
    return SimulatedRoot.load_or_create(simulated_root_dir)


@pytest.fixture(scope="session")
def simulated_roots(simulated_root: SimulatedRoot) -> Roots:
    """What a verifier is given to believe that root."""
    return Roots.simulated(simulated_root.ark_sha256)


def evidence_of(
    root: SimulatedRoot, *faults: str, claims: bytes = CLAIMS, now: datetime | None = None
) -> Evidence:
    """Evidence of a fresh machine with these faults."""
    return machine_of(root, faults, now=now).evidence(claims)


def machine_of(
    root: SimulatedRoot, faults: Collection[str] = (), *, now: datetime | None = None
) -> Machine:
    """A fresh machine with these faults, started now unless told otherwise."""
    return Machine(root, HOST_DATA, faults=faults, now=now)
