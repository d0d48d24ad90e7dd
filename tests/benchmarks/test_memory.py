"""What a process takes is counted once, whichever way it takes it, and also if it gives it back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
TAKEN = 32 * MIB
TAKING = """
import mmap, os, time
from support.memory import Place, sampled
place, piece = Place(), b"x" * (1 << 20)
with sampled(place) as samples:
{way}
print(max(samples) - samples[0])
"""
WAYS = {
    "anonymous": """
    kept = piece * 32
""",
    "given back": """
    kept = piece * 32
    before = len(samples)
    while len(samples) < before + 2:  # one may have begun before
        time.sleep(0.01)
    del kept
""",
    "shared": """
    kept = mmap.mmap(-1, 32 << 20)
    for _ in range(32):
        kept.write(piece)
""",
    "a memory file": """
    descriptor = place.create("a", 32 << 20)
    for number in range(32):
        os.pwrite(descriptor, piece, number << 20)
""",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_memory_is_counted(way: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    command = [sys.executable, "-c", TAKING.format(way=way)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert TAKEN <= int(ran.stdout) < TAKEN + 4 * MIB
