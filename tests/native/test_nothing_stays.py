"""When a load, a range or a unit is over, no key and no text is left in the process's memory.

Another process does the work (leave_nothing.py); then all that it has mapped is searched for what
it should not have kept. That finds what no answer tells of: stacks, freed memory, key schedules.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from sealserve.native.cobblestone import Message, sealed_size
from support.native_sealed import CONTEXT, Sealed, around

PROGRAM = Path(__file__).with_name("leave_nothing.py")
CHUNK, PAGE, HEADER = 16384, 4096, 56
CHUNKS = 300  # more than a unit
KEY = os.urandom(32)
LINE = os.urandom(32)  # stands in each chunk, and nowhere by chance
WORKS = ("load", "cancelled_load", "checked_load", "range", "open", "seal")
FAILING = ("failing_load", "failing_range", "failing_open")


def case() -> Sealed:
    plain = b"".join(bytes(99) + LINE + os.urandom(CHUNK - 99 - 32) for _ in range(CHUNKS))[:-9000]
    message = Message.new(KEY, CONTEXT)
    chunks = bytearray(sealed_size(len(plain)) - HEADER)
    message.seal_into(0, plain, chunks, last=True)
    data = bytes(PAGE - HEADER) + message.header + chunks
    data += bytes(-len(data) % PAGE)
    return around(data, plain, PAGE - HEADER, sealed_size(len(plain)))


CASE = case()


def needles() -> dict[str, bytes]:
    """The round keys begin with the key; H is what the tags' powers are made of.

    Halves, because malloc writes over the beginning of what is freed.
    """
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + CASE.header[:24]
    derived = HKDFExpand(SHA512(), 76, info + CONTEXT).derive(KEY)
    aes = Cipher(algorithms.AES(derived[:32]), modes.ECB()).encryptor()
    hashing = aes.update(bytes(16))
    return {
        "input key": KEY[:16],
        "input key, second half": KEY[16:],
        "derived key": derived[:16],
        "derived key, second half": derived[16:32],
        "base nonce": derived[32:44],
        "H": hashing,
        "H backwards": hashing[::-1],
        "text": LINE,
    }


@dataclass(frozen=True)
class Mapping:
    start: int
    end: int
    name: str


def mappings(pid: int) -> Iterator[Mapping]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \d+ *(.*)", line)
        if found and found[3] not in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
            yield Mapping(int(found[1], 16), int(found[2], 16), found[3] or "anonymous")


def found_in(pid: int) -> dict[str, str]:
    """What is in its memory, and in which mapping."""
    found, wanted = {}, needles()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for mapping in mappings(pid):
            memory.seek(mapping.start)
            content = memory.read(mapping.end - mapping.start)
            found.update({name: mapping.name for name, n in wanted.items() if n in content})
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("whole"), CASE)


@pytest.fixture(scope="module")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an honest tree: it is the last chunk's tag that does not fit, when all others came."""
    at = CASE.payload_offset + CASE.payload_bytes - 1
    data = CASE.data[:at] + bytes([CASE.data[at] ^ 1]) + CASE.data[at + 1 :]
    other = around(data, CASE.plain, CASE.payload_offset, CASE.payload_bytes)
    return written(tmp_path_factory.mktemp("altered"), other)


def written(folder: Path, sealed: Sealed) -> Path:
    parts = {"sealed": sealed.data, "plain": sealed.plain, "key": KEY}
    for name, data in {**parts, "area": sealed.tree.area, "root": sealed.tree.root}.items():
        (folder / name).write_bytes(data)
    return folder


def left_by(work: str, folder: Path) -> dict[str, str]:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), work, str(folder), json.dumps(CASE.layout)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"over\n"
        found = found_in(program.pid)
        program.communicate(b"")
    assert program.returncode == 0
    return found


def test_what_is_kept_is_found(folder: Path) -> None:
    found = left_by("keep", folder)
    assert {"input key", "derived key", "text"} <= set(found)


@pytest.mark.parametrize("work", WORKS)
def test_nothing_stays(folder: Path, work: str) -> None:
    assert left_by(work, folder) == {}


@pytest.mark.parametrize("work", FAILING)
def test_nothing_stays_of_what_failed(altered: Path, work: str) -> None:
    assert left_by(work, altered) == {}
