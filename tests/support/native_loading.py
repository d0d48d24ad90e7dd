"""One load as a test starts it, and memory that shows what a load has done to it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sealserve.native.destination import Destination
from support.native_sealed import CONTEXT, KEY, Sealed

UNIT_PLAIN = 256 * 16384  # what one thread opens at a time
# Plaintext whose last chunk ends with a page, a chunk, 16 leaves, a piece of a walk (48 pages), and
# a unit of 256 chunks.
ENDS = (4096 - 16, 16384, 16 * 4096 - 4 * 16, 48 * 4096 - 12 * 16, UNIT_PLAIN)
UNTOUCHED = 0xAA
MARGIN = 32


def load(
    backend: Any,
    case: Sealed,
    fd: int,
    destinations: list[Destination],
    *,
    key: bytes = KEY,
    context: bytes = CONTEXT,
    area: bytes | None = None,
    root: bytes | None = None,
    tree: Any = None,
    message: Any = None,
    **options: Any,
) -> None:
    """The three steps in their order: the tree, the message, the payload."""
    if tree is None:
        area = case.tree.area if area is None else area
        tree = backend.TrustedTree.load(area, len(case.data), root or case.tree.root)
    with message or backend.Message.of(key, case.header, context) as message:
        given = {**case.layout, **options, "tree": tree, "message": message}
        backend.load(fd, **given, destinations=destinations)


class Landing:
    """Room for plaintext [start, start + size), with margins that a load has to leave alone."""

    def __init__(self, size: int, start: int = 0) -> None:
        self.size = size
        self.memory = bytearray([UNTOUCHED]) * (size + 2 * MARGIN)
        self.destination = Destination(start, size, buffer=self.memory, offset=MARGIN)

    @property
    def landed(self) -> bytes:
        outside = self.memory[:MARGIN] + self.memory[MARGIN + self.size :]
        assert outside == bytes([UNTOUCHED]) * (2 * MARGIN)
        return bytes(self.memory[MARGIN : MARGIN + self.size])

    @property
    def untouched(self) -> bool:
        return self.landed == bytes([UNTOUCHED]) * self.size


@contextmanager
def memory_file(content: bytes = b"", seals: int = 0) -> Iterator[int]:
    fd = os.memfd_create("landing", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, content)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        yield fd
    finally:
        os.close(fd)


def bytes_read() -> int:
    """By the whole process, in system calls (proc(5), /proc/pid/io)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def being_delivered(slow: list[Destination]) -> bool:
    """Whether a load has begun to write. Asked without reading: some who ask count what is read."""
    fd = slow[0].fd
    assert fd is not None
    return os.fstat(fd).st_size > 0


def content_of(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
