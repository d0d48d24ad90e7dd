"""How fast does a sealed file in the page cache become verified plaintext?

Ours, and the same structure on OpenSSL (our own code with both kernels set to libcrypto), into
memory that is used again; then without a destination, beside `veritysetup verify` of that file,
which opens nothing. The limit is reading the file into memory and doing nothing with it.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from support.side_by_side import MIB, Way, compare

from sealserve.native.cobblestone import HEADER_BYTES, Message, sealed_size
from sealserve.native.verity import TreeBuilder

SIZE = 256 * MIB
KEY = os.urandom(32)
LOADER = Path(__file__).resolve().parent / "support/loader.py"
OPENSSL = {"SEALSERVE_GCM": "libcrypto", "SEALSERVE_SHA256": "libcrypto"}


def seal(folder: Path) -> Path:
    """A page of header, the message, its tree; returns the facts that a loader needs."""
    file = folder / "sealed"
    message = Message.new(KEY, b"benchmark")
    chunks = bytearray(sealed_size(SIZE) - HEADER_BYTES)
    message.seal_into(0, os.urandom(SIZE), chunks, last=True)
    start = 4096 - HEADER_BYTES
    data = bytes(start) + message.header + bytes(chunks)
    data += bytes(-len(data) % 4096)
    builder = TreeBuilder()
    builder.update(data)
    tree = builder.finish()
    file.write_bytes(data + tree.area)
    layout = {
        "payload_offset": start,
        "payload_bytes": sealed_size(SIZE),
        "data_bytes": len(data),
    }
    told = {
        "area_bytes": len(tree.area),
        "file": str(file),
        "key": KEY.hex(),
        "layout": layout,
        "root": tree.root.hex(),
    }
    facts = folder / "facts.json"
    facts.write_text(json.dumps(told))
    return facts


class Loader:
    """Another process, so that each has its own kernels."""

    def __init__(self, facts: Path, kernels: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, LOADER, facts],
            env={**os.environ, **kernels},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def way(self, name: str, request: str) -> Way:
        return Way(name, SIZE, lambda: self._ask(request))

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, request: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise SystemExit("the loader failed")


def veritysetup(facts: Path) -> Way:
    told = json.loads(facts.read_text())
    offset = f"--hash-offset={told['layout']['data_bytes']}"
    program = shutil.which("veritysetup", path=f"{os.environ['PATH']}:/sbin:/usr/sbin")
    if program is None:
        raise SystemExit("veritysetup is missing: apt-get install cryptsetup-bin")
    command = [program, "verify", told["file"], told["file"], told["root"], offset]
    return Way("veritysetup verify", SIZE, lambda: subprocess.run(command, check=True))


def reading(facts: Path) -> Way:
    fd = os.open(json.loads(facts.read_text())["file"], os.O_RDONLY)
    memory = memoryview(mmap.mmap(-1, SIZE))
    pieces = [(at, memory[at : at + MIB]) for at in range(0, SIZE, MIB)]

    def read() -> None:
        for at, piece in pieces:
            os.preadv(fd, [piece], at)

    return Way("page cache, read into memory", SIZE, read)


def main() -> None:
    with ExitStack() as stack:
        facts = seal(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        ours, openssl = Loader(facts, {}), Loader(facts, OPENSSL)
        stack.callback(ours.close)
        stack.callback(openssl.close)
        limit = reading(facts)
        compare(
            "How fast does a cached sealed file become verified plaintext, on one thread?",
            SIZE,
            "the same structure on the system's OpenSSL",
            [ours.way("load", "1"), openssl.way("load on libcrypto", "1"), limit],
        )
        compare(
            "How fast is it verified, on one thread?",
            SIZE,
            "veritysetup",
            [ours.way("load without destinations", "1 verify"), veritysetup(facts), limit],
        )
        compare(
            "What do two threads bring?",
            SIZE,
            "ours on one thread",
            [ours.way("load, two threads", "2"), ours.way("load, one thread", "1"), limit],
        )


main()
