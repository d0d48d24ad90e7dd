"""Prepacked weights lie in huge pages of the heap, and nothing else changes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 48 * 2**20
# Says for a block made inside and for one made afterwards where it lies; and what memory that took.
PROGRAM = f"""
import ctypes, json
from pathlib import Path
from sealserve.inference.server import heap
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def home(address):
    found = {{}}
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first:
            start, end = (int(each, 16) for each in first.split("-"))
            inside = start <= address < end
            name = rest[4] if len(rest) > 4 else ""
        elif first == "VmFlags:" and inside:
            found = {{"name": name, "huge": "hg" in rest}}
    return found

before = resident()
with heap.huge_pages(2 * {SIZE}):
    inside = home(libc.malloc({SIZE}) + {SIZE} // 2)
afterwards = home(libc.malloc({SIZE}) + {SIZE} // 2)
print(json.dumps([inside, afterwards, resident() - before]))
"""


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, object], dict[str, object], int]:
    ran = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    inside, afterwards, grown = json.loads(ran.stdout)
    return inside, afterwards, grown


def test_a_block_made_inside_is_in_the_heap(told: tuple[dict[str, object], ...]) -> None:
    assert told[0]["name"] == "[heap]"


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a kernel without huge pages"
)
def test_it_may_have_huge_pages(told: tuple[dict[str, object], ...]) -> None:
    assert told[0]["huge"]


def test_a_block_made_afterwards_is_a_mapping_of_its_own(
    told: tuple[dict[str, object], ...],
) -> None:
    assert told[1]["name"] == ""


def test_what_is_not_touched_takes_no_memory(told: tuple[object, object, int]) -> None:
    assert told[2] < SIZE // 2
