"""A small sealed file as a load sees it: header pages, one message, padding, and its tree."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sealserve.native.cobblestone import HEADER_BYTES, Message, sealed_size
from sealserve.native.verity import BLOCK_BYTES, Tree, TreeBuilder

KEY = bytes(range(32))
CONTEXT = b"a context"


@dataclass(frozen=True)
class Sealed:
    """data: what the tree covers. payload_offset, payload_bytes: the message inside it."""

    data: bytes
    tree: Tree
    plain: bytes
    payload_offset: int
    payload_bytes: int

    @property
    def header(self) -> bytes:
        return self.data[self.payload_offset : self.payload_offset + HEADER_BYTES]

    def write(self, path: Path, data: bytes | None = None) -> int:
        """Write it (or other bytes in its place) and return a descriptor open for reading."""
        path.write_bytes(self.data if data is None else data)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def layout(self) -> dict[str, int]:
        return {
            "payload_offset": self.payload_offset,
            "payload_bytes": self.payload_bytes,
            "data_bytes": len(self.data),
        }


def sealed(plain_bytes: int, *, header_pages: int = 1, padding: bytes | None = None) -> Sealed:
    """Random plaintext, sealed behind `header_pages` pages. padding: replaces the zeros."""
    plain = os.urandom(plain_bytes)
    message = Message.new(KEY, CONTEXT)
    chunks = bytearray(sealed_size(plain_bytes) - HEADER_BYTES)
    message.seal_into(0, plain, chunks, last=True)
    start = header_pages * BLOCK_BYTES - HEADER_BYTES
    data = os.urandom(start) + message.header + chunks
    padding = bytes(-len(data) % BLOCK_BYTES) if padding is None else padding
    return around(data + padding, plain, start, sealed_size(plain_bytes))


def around(data: bytes, plain: bytes, payload_offset: int, payload_bytes: int) -> Sealed:
    """With an honest tree over whatever `data` is."""
    builder = TreeBuilder()
    builder.update(data)
    return Sealed(data, builder.finish(), plain, payload_offset, payload_bytes)
