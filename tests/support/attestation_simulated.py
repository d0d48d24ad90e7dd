"""A simulated root for the whole test session, and machines and evidence of every kind under it."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation import Evidence, Roots, TlsClaims
from sealserve.attestation.report import SigningKey
from sealserve.attestation.simulated import (
    FAULTS,
    MODELS,
    Machine,
    SimulatedEndorser,
    SimulatedProvider,
    SimulatedRoot,
    UvmForm,
)
from sealserve.attestation.simulated.blueprint import good
from sealserve.attestation.tcb import Line

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


@dataclass(frozen=True)
class Kind:
    """One kind of machine. version: of its reports, None for the one its firmware gives.

    uvm: the form of its endorsement, None for a machine without one.
    """

    model: str = "milan"
    key: SigningKey = "vcek"
    version: int | None = None
    uvm: UvmForm | None = None

    def __str__(self) -> str:
        endorsed = f"-{self.uvm}" if self.uvm else ""
        return f"{self.model}-v{self.report_version}-{self.key}{endorsed}"

    @property
    def line(self) -> Line:
        """Its product line."""
        return MODELS[self.model].line

    @property
    def report_version(self) -> int:
        """The version of its reports."""
        return self.version or MODELS[self.model].version

    def root(self, keys: SimulatedRoot) -> SimulatedRoot:
        """A root of its line, quickly had: it is made of the keys of another."""
        return _root(keys, self.line)

    def roots(self, keys: SimulatedRoot) -> Roots:
        """What a verifier is given to believe that root."""
        return Roots.simulated(self.root(keys).ark_sha256)

    def machine(self, keys: SimulatedRoot, *faults: str, **more: Any) -> Machine:
        """A fresh machine of this kind with these faults, under that root."""
        root = self.root(keys)
        provider = SimulatedProvider.of(keys.ask_key, root, NOW) if self.key == "vlek" else None
        settings = {
            "model": self.model,
            "provider": provider,
            "report_version": self.version,
            "endorser": endorser_of(keys) if self.uvm else None,
            "uvm_form": self.uvm or "json",
        }
        return Machine(root, HOST_DATA, faults=faults, **{**settings, **more})

    def faults(self) -> list[str]:
        """The names of all faults that such a machine can have."""
        model, version = MODELS[self.model], self.report_version
        plan = good(NOW, model, self.key, version, HOST_DATA, bytes(64), self.uvm)
        return [name for name, fault in FAULTS.items() if not fault.only or fault.only.met(plan)]


@functools.cache
def endorser_of(keys: SimulatedRoot) -> SimulatedEndorser:
    """An endorser, quickly had: it is made of the keys of a root."""
    return SimulatedEndorser.of(keys.ark_key, keys.ask_key, NOW)


MILAN = Kind()
FAULTS_OF_MILAN = [name for name in MILAN.faults() if not FAULTS[name].optional]


def codes_of(fault: str) -> set[str]:
    """What a client that expects a good machine reports of this fault."""
    return {FAULTS[fault].code} if FAULTS[fault].code else {*FAULTS[fault].findings}


@functools.cache
def _root(keys: SimulatedRoot, line: Line) -> SimulatedRoot:
    return keys if line == keys.line else SimulatedRoot.of(keys.ark_key, keys.ask_key, NOW, line)
