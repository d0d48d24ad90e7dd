"""Which machine is this? Looks in a fixed order and can say what it looked for and found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealserve.attestation.devices import simulated
from sealserve.attestation.evidence import EvidenceSource
from sealserve.attestation.simulated.frames import SOCKET_VARIABLE
from sealserve.native.errors import ConfigError

_DEVICES: Final = ("/dev/sev-guest", "/dev/sev")


@dataclass(frozen=True, slots=True)
class Look:
    """One place that was looked at: where, and what was there."""

    where: str
    found: str


@dataclass(frozen=True, slots=True)
class Detection:
    """What was looked at, in order, and the source that was chosen, if any."""

    looked: tuple[Look, ...]
    source: EvidenceSource | None

    def explain(self) -> str:
        """One line per place, then the choice."""
        lines = [f"{look.where}: {look.found}" for look in self.looked]
        chosen = self.source.platform if self.source else "none"
        return "\n".join([*lines, f"platform: {chosen}"])


def look(environ: Mapping[str, str], root: Path = Path("/")) -> Detection:
    """Look at every place. root: where the file system starts.

    UnavailableError if a simulated platform is announced but not there.
    """
    found = simulated.source(environ)
    announced = f"announces descriptor {environ[SOCKET_VARIABLE]}" if found else "not set"
    devices = (Look(device, _state(root, device)) for device in _DEVICES)
    return Detection((Look(SOCKET_VARIABLE, announced), *devices), found)


def detect(environ: Mapping[str, str]) -> EvidenceSource:
    """The source of evidence on this machine. ConfigError, explaining itself, if there is none."""
    detection = look(environ)
    if detection.source is None:
        raise ConfigError(
            f"no trusted execution environment found\n{detection.explain()}",
            hint="to try without hardware: `sealserve tee run --policy P -- CMD…`",
        )
    return detection.source


def _state(root: Path, device: str) -> str:
    there = (root / device.lstrip("/")).exists()
    return "there, but this release speaks to no hardware" if there else "not there"
