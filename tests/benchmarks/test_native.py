"""What benchmarks call from C does the work that it is timed for."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAYS = {"OpenSSL": "way = evp(chunks)"}
if platform.machine() == "x86_64":  # libipsec-mb exists for no other
    WAYS["libipsec-mb"] = "way = ipsec(chunks)"
OPENING = """
from support.ciphers import Chunks, evp, ipsec
chunks = Chunks(64 << 10)
{way}
way.run()
plain = bytes(chunks.out)
print("opened", len(plain) - plain.count(0) > 60000)
chunks.sealed[-1] ^= 1
way.run()
"""
RANGES = """
import os, tempfile
from pathlib import Path
from support.ranges import floor, read_into
from support.sealed import seal
with tempfile.TemporaryDirectory() as folder:
    sealed = seal(Path(folder), 2 << 20)
    fd = sealed.open()
    ways = [read_into(sealed, fd), floor(sealed, fd)]
    for way in ways:
        way.run()
    print("opened", len({way.size for way in ways}) == 1)
    os.truncate(sealed.path, 1 << 20)
    ways[1].run()
"""
LEAVES = """
from support.hashing import evp_leaves
from sealserve.native.verity import digests_of
import os
data = bytearray(os.urandom(5 * 4096))
digests = bytearray(5 * 32)
evp_leaves(data, digests).run()
print(digests_of(data) == digests)
"""
CLOCK = """
from support.native import clock, one_core
with one_core():
    print(all(0.1 < clock().ghz < 20 for _ in range(10)))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as `support` is another package there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_peer_opens_what_was_sealed_and_refuses_what_was_not(way: str) -> None:
    ran = python(OPENING.format(way=way))
    assert ran.stdout == "opened True\n", ran.stderr
    assert ran.returncode == 1
    assert "a native function failed" in ran.stderr


def test_the_floor_opens_the_places_that_ours_opens_and_fails_with_the_file() -> None:
    ran = python(RANGES)
    assert ran.stdout == "opened True\n", ran.stderr
    assert ran.returncode == 1
    assert "a native function failed" in ran.stderr


def test_openssl_hashes_the_leaves_of_the_tree() -> None:
    ran = python(LEAVES)
    assert ran.stdout == "True\n", ran.stderr


def test_the_clock_is_one_of_a_processor() -> None:
    ran = python(CLOCK)
    assert ran.stdout == "True\n", ran.stderr
