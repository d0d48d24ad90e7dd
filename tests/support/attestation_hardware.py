"""Hardware without hardware: recorded machines with their real reports, and a machine of our own.

A recorded report was made for certain claims, so evidence over exactly these claims is real in all
its parts. A machine of our own signs reports for any claims, under a root made for the tests that
only differs from AMD's by being handed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sealserve.attestation import Roots
from sealserve.attestation.binding import ReportData
from sealserve.attestation.certificate_table import ASK, CRL, VCEK
from sealserve.attestation.certs import Certificate, Name
from sealserve.attestation.devices.cache import Cache
from sealserve.attestation.devices.hardware import HardwareSource
from sealserve.attestation.devices.leaves import Leaves
from sealserve.attestation.devices.lists import Lists
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.simulated import Machine as Simulator
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.errors import UnavailableError
from support.attestation_devices import Machine, recorded
from support.attestation_table import table
from support.attestation_vectors import Vector, vector, vectors

BOUND = [row for row in vectors("snp", "runtime_data.bin") if row.verdict == "accept"]
GENOA = vector("openpcc/az-cvm-genoa-v3")
(_LISTS,) = vectors("crl")
GENOA_LIST = _LISTS.read("genoa_vcek.crl")  # of now, when GENOA is judged
MILAN_LIST = _LISTS.read("milan_vcek.crl")  # lapsed by then


@dataclass
class Service:
    """AMD's service as `Leaves` and `Lists` ask it. Bytes are answers, words are why there is none.

    asked: what was asked for, in order.
    """

    leaf: bytes | str = "is away"
    crl: bytes | str = "is away"
    ask: bytes | str = "is away"
    url: str = "https://kds.example"
    asked: list[str] = field(default_factory=list)
    retry_after_seconds: float = 0.0

    def vcek(self, report: object, line: str, *, seconds: float) -> bytes:
        """As `Kds`."""
        return self._answer(f"vcek {line}", self.leaf)

    def intermediate(self, line: str, kind: str, *, seconds: float) -> bytes:
        """As `Kds`."""
        return self._answer(f"chain {line} {kind}", self.ask)

    def revocation_list(self, line: str, kind: str, *, seconds: float) -> bytes:
        """As `Kds`."""
        return self._answer(f"list {line} {kind}", self.crl)

    def _answer(self, what: str, answer: bytes | str) -> bytes:
        self.asked.append(what)
        if isinstance(answer, str):
            raise UnavailableError(answer, retry_after_seconds=self.retry_after_seconds)
        return answer


@dataclass
class Place:
    """One machine and every place it may find things; `source` puts them together."""

    machine: Machine
    now: datetime
    roots: Roots = field(default_factory=Roots.amd)
    cache: Cache = field(default_factory=lambda: Cache(None))
    service: Service | None = None
    places: dict[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Vector, **values: object) -> Place:
        """A recorded machine, at the time its vector is judged."""
        return cls(Machine(recorded(row.read("report.bin"))), row.at, **values)

    def leaves(self) -> Leaves:
        """Where leaves come from."""
        return Leaves(
            roots=self.roots,
            cache=self.cache,
            clock=lambda: self.now,
            service=self.service,
            **self.places,
        )

    def lists(self) -> Lists:
        """Where lists come from."""
        return Lists(
            roots=self.roots,
            cache=self.cache,
            clock=lambda: self.now,
            service=self.service,
        )

    def source(self, **options: object) -> HardwareSource:
        """The whole source."""
        return HardwareSource(self.machine, "snp", self.leaves(), self.lists(), **options)


@dataclass(frozen=True)
class OwnRoots(Roots):
    """A root of ours in the place of those we ship."""

    own: Certificate

    def _shipped_root(self, issuer: Name) -> Certificate | None:
        return self.own if issuer.der == self.own.subject.der else None


def own_place(root: SimulatedRoot, host_data: bytes = bytes(32)) -> Place:
    """A machine that signs for any claims, with leaf, intermediate and list in the host's table."""
    simulator = Simulator(root, host_data)
    made = simulator.evidence(b"{}")
    assert made.crl is not None
    believed = OwnRoots(
        "snp",
        SIMULATED_ORGANIZATION,
        frozenset({root.ark_sha256}),
        shipped=True,
        own=Certificate.parse(root.ark),
    )

    def make(data: bytes) -> bytes:
        return simulator.answer(ReportData(data), b"").report

    contents = {VCEK: made.leaf, ASK: made.intermediate, CRL: made.crl}
    return Place(Machine(make, table(contents)), datetime.now(UTC), roots=believed)


def milan_cpuinfo(folder: Path) -> Path:
    """What /proc/cpuinfo says on a Milan."""
    path = folder / "cpuinfo"
    path.write_text("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n")
    return path
