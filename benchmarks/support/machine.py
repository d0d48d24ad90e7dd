"""What ran, how quiet it was, and what its ports allow."""

from __future__ import annotations

import os
import platform
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sealserve.native.crypto import kernels


@dataclass(frozen=True)
class Ports:
    """What the ports of Intel's cores with 512-bit units allow, for these kernels."""

    bytes_per_cycle: float
    kernels: frozenset[str]

    def unknown(self) -> str:
        """Why no limit can be stated here, or nothing."""
        others = self.kernels - {names[0] for names in kernels().values()}
        if others:
            return f"no model of ports but for kernel {', '.join(sorted(others))}"
        if "GenuineIntel" not in Path("/proc/cpuinfo").read_text():
            return "no model of ports but for Intel's"
        return ""


# 14 VAESENC for 64 bytes, which port 0 takes one a cycle.
GCM_PORTS = Ports(64 / 14, frozenset({"vaes512"}))
# 106 operations on ports 0 and 5, so 53 cycles, for 64 bytes in one of 16 lanes.
SHA256_PORTS = Ports(1.20, frozenset({"x16"}))
# Each byte is hashed, then decrypted; weaving the two gains little, as both need port 0.
BOTH_PORTS = Ports(
    1 / (1 / GCM_PORTS.bytes_per_cycle + 1 / SHA256_PORTS.bytes_per_cycle),
    GCM_PORTS.kernels | SHA256_PORTS.kernels,
)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "openssl": ssl.OPENSSL_VERSION,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _ticks() -> tuple[int, int]:
    """All of the processors' time so far, and what the hypervisor took of it (proc(5), stat)."""
    first = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, idle, wait, irq, soft, steal = map(int, first.split()[1:9])
    return user + nice + system + idle + wait + irq + soft + steal, steal


def _load() -> float:
    return os.getloadavg()[0]


@dataclass(frozen=True)
class Neighbours:
    """How quiet the machine is, from now on."""

    load: float = field(default_factory=_load)
    ticks: tuple[int, int] = field(default_factory=_ticks)

    def seen(self) -> dict[str, float]:
        """Processes that wanted to run in the minute before; the part of time stolen since."""
        total, stolen = (b - a for a, b in zip(self.ticks, _ticks(), strict=True))
        return {"load_average": self.load, "stolen": stolen / total if total else 0.0}
