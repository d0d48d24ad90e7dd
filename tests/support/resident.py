"""How much memory a process and all that it started hold."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Resident sets of a process and of its descendants; pages that they share count for each."""
    return sum(_resident(each) for each in family(pid))


def family(pid: int) -> list[int]:
    """A process and all that it started, itself first."""
    return [pid, *_descendants(pid)]


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended


def _descendants(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [each for child in children for each in (child, *_descendants(child))]
