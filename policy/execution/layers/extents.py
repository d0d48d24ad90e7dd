"""Where a file's blocks are: runs of at most 32768, in its inode or in one block more.

A file's blocks lie one after the other, so its first block and their number say it all
(Linux Documentation/filesystems/ext4/ifork.rst, "Extent Tree").
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from sealserve.policy.execution.layers.blocks import Blocks
from sealserve.policy.execution.layers.limits import MAX_EXTENTS
from sealserve.policy.execution.layers.refused import RefusedError

_RUN_BLOCKS = 0x8000
_IN_INODE = 4
_IN_BLOCK = 340
_MAGIC = 0xF30A
_HEADER = struct.Struct("<HHHHI")  # magic, entries, room for, depth, generation
_LEAF = struct.Struct("<IHHI")  # first block of the file, length, where: high, low
_INDEX = struct.Struct("<IIHH")  # first block of the file, where: low, high, unused
_ONE_RUN = struct.Struct("<HHHHIIHHI")


class Extents(NamedTuple):
    """area: for the inode. blocks: all that the file takes."""

    area: bytes
    blocks: int


def check(size: int) -> None:
    """Raise RefusedError for a file of so many bytes that the reference gets wrong."""
    if size > MAX_EXTENTS * _RUN_BLOCKS * 4096:
        raise RefusedError(
            f"a file of {size} bytes; the reference converter's arithmetic is wrong for more than"
            f" {MAX_EXTENTS * _RUN_BLOCKS * 4096}"
        )


def describe(blocks: Blocks, first: int) -> Extents:
    """The file whose last block was written just now; a long one's runs are written behind it."""
    count = blocks.next - first
    if count <= _RUN_BLOCKS:
        return Extents(_ONE_RUN.pack(_MAGIC, 1, _IN_INODE, 0, 0, 0, count, 0, first), count)
    runs = [
        _LEAF.pack(start, min(count - start, _RUN_BLOCKS), 0, first + start)
        for start in range(0, count, _RUN_BLOCKS)
    ]
    if len(runs) <= _IN_INODE:
        return Extents(_head(len(runs), _IN_INODE, 0) + b"".join(runs), count)
    leaf = blocks.next
    blocks.write(_head(len(runs), _IN_BLOCK, 0) + b"".join(runs))
    blocks.pad()
    return Extents(_head(1, _IN_INODE, 1) + _INDEX.pack(0, leaf, 0, 0), count + 1)


def _head(entries: int, room: int, depth: int) -> bytes:
    return _HEADER.pack(_MAGIC, entries, room, depth, 0)
