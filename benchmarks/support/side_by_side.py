"""Ways to do the same work, in turns, in one run: the ratio counts, not the number."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sealserve.native.crypto import kernels

REPEATS = 9
MIB = 1 << 20


@dataclass(frozen=True)
class Way:
    """`run` goes over `size` bytes, on one thread."""

    name: str
    size: int
    run: Callable[[], object]

    def rate(self) -> float:
        """Gigabytes (10^9 bytes) a second."""
        started = time.perf_counter()
        self.run()
        return self.size / (time.perf_counter() - started) / 1e9


def memory_read(data: bytes) -> Way:
    """The limit: memcmp reads two buffers that are equal, and does nothing else with them."""
    first, second = bytearray(data), bytearray(data)
    return Way("memory, read by memcmp", 2 * len(data), lambda: first == second)


def compare(question: str, size: int, peer: str, ways: list[Way]) -> None:
    """The first way is ours. In every round each has its turn, after one that does not count.

    peer: the library the others use. A ratio is of two turns in one round, which neighbours on the
    machine slow down alike.
    """
    for way in ways:
        way.run()
    rounds = [[way.rate() for way in ways] for _ in range(REPEATS)]
    print(f"{question}\n  {_machine()}; peer: {peer}")
    print(f"  {size // MIB} MiB of input, {REPEATS} rounds, one thread, medians and (extremes)")
    for number, way in enumerate(ways):
        rates = [turns[number] for turns in rounds]
        ratio = median(turns[0] / turns[number] for turns in rounds)
        spread = f"({min(rates):.1f} to {max(rates):.1f})"
        print(f"  {way.name:<44}{median(rates):6.2f} GB/s {spread:<16} ours is {ratio:5.2f} of it")


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cores = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    in_use = ", ".join(f"{family} {names[0]}" for family, names in kernels().items())
    return f"{len(cores)} x {cores[0] if cores else platform.machine()}; kernels: {in_use}"
