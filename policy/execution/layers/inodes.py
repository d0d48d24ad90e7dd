"""The inodes of an image, kept as the table that is written at the end.

Numbers begin with 1; those below 11 are reserved, and but for the root's their places are empty.
"""

from __future__ import annotations

import struct

from sealserve.native.ext4 import INODE_BYTES, write_inode
from sealserve.native.tar import NO_TIME, Header
from sealserve.policy.execution.layers import attributes
from sealserve.policy.execution.layers.blocks import Blocks
from sealserve.policy.execution.layers.extents import Extents
from sealserve.policy.execution.layers.limits import MAX_ATTRIBUTE_BLOCKS, MAX_INODES
from sealserve.policy.execution.layers.refused import RefusedError

ROOT = 2
FIRST = 11

# What a mode says a file is (stat(2)).
TYPE = 0o170000
FILE, FOLDER, SYMLINK = 0o100000, 0o040000, 0o120000
CHARACTER, BLOCK, FIFO = 0o020000, 0o060000, 0o010000

_HUGE_FILE = 0x40000  # blocks are counted in blocks, on every inode
_EXTENTS = 0x80000

# Linux Documentation/filesystems/ext4/inodes.rst: fields that are read or changed again.
_MODE = struct.Struct("<H")
_SIZE_LOW, _LINKS, _BLOCKS, _FLAGS, _AREA, _ATTRIBUTES, _SIZE_HIGH = 4, 26, 28, 32, 40, 104, 108
_U16, _U32 = struct.Struct("<H"), struct.Struct("<I")
_OWNER = struct.Struct("<HH4xIII4xH")  # mode, uid, atime, ctime, mtime, gid
_OWNER_HIGH = struct.Struct("<HH8xIII")  # uid, gid, ctime, mtime, atime
_OWNER_HIGH_AT = 120
_INLINE = 152
_EMPTY = bytes(INODE_BYTES)


class Inodes:
    """The table, and where attributes go that do not fit into it."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._attribute_blocks = 0
        self.count = FIRST - 1
        self.table = bytearray(self.count * INODE_BYTES)

    def new(self) -> int:
        """The next number, its place still empty."""
        if self.count == MAX_INODES:
            raise RefusedError(f"more than {MAX_INODES} files and folders")
        self.table += _EMPTY
        self.count += 1
        return self.count

    def append(self, inodes: bytes) -> None:
        """Add inodes that are written already."""
        self.table += inodes
        self.count += len(inodes) // INODE_BYTES

    def write(
        self, number: int, about: Header, mode: int, links: int, *, size: int = 0, area: bytes = b""
    ) -> None:
        """All fields, attributes too, but for what a file's data adds.

        What was written to this number before leaves its attributes where they are not named again,
        those in a block excepted, its block of attributes and its count of blocks.
        """
        blocks = attribute_block = 0
        if about.attributes or self.links(number):
            blocks, attribute_block = self._write_attributes(number, about)
        write_inode(
            *(self.table, number, about, mode, size, links, blocks, _HUGE_FILE),
            *(attribute_block, area),
        )

    def write_file(
        self, number: int, about: Header, mode: int, size: int, extents: Extents
    ) -> None:
        """A new file with data and without attributes, in one step."""
        write_inode(
            *(self.table, number, about, mode, size, 1, extents.blocks, _HUGE_FILE | _EXTENTS),
            *(0, extents.area),
        )

    def add_data(self, number: int, size: int, extents: Extents) -> None:
        """Say where the data of an inode is."""
        at = self._at(number)
        _U32.pack_into(self.table, at + _SIZE_LOW, size & 0xFFFFFFFF)
        _U32.pack_into(self.table, at + _SIZE_HIGH, size >> 32)
        self._add(at + _BLOCKS, extents.blocks)
        self._add(at + _FLAGS, _EXTENTS)
        area = extents.area
        self.table[at + _AREA : at + _AREA + len(area)] = area

    def mode(self, number: int) -> int:
        """Type and permissions."""
        return int(_MODE.unpack_from(self.table, self._at(number))[0])

    def has_data(self, number: int) -> bool:
        """Whether blocks were written for it, which nothing gives back."""
        return bool(_U32.unpack_from(self.table, self._at(number) + _FLAGS)[0] & _EXTENTS)

    def links(self, number: int) -> int:
        """How many names it has; 0 for one that was never written."""
        return int(_U16.unpack_from(self.table, self._at(number) + _LINKS)[0])

    def add_links(self, number: int, more: int) -> None:
        """Count names that came, or went."""
        _U16.pack_into(self.table, self._at(number) + _LINKS, self.links(number) + more)

    def about(self, number: int) -> Header:
        """Owner and times of an inode, as far as it can tell them."""
        at = self._at(number)
        mode, uid, accessed, changed, modified, gid = _OWNER.unpack_from(self.table, at)
        high = _OWNER_HIGH.unpack_from(self.table, at + _OWNER_HIGH_AT)
        about = Header(mode=mode)
        about.uid, about.gid = uid | high[0] << 16, gid | high[1] << 16
        about.changed, about.changed_ns = _moment(changed, high[2])
        about.modified, about.modified_ns = _moment(modified, high[3])
        about.accessed, about.accessed_ns = _moment(accessed, high[4])
        return about

    def attributes(self, number: int) -> dict[bytes, bytes]:
        """All attributes of an inode."""
        block = self._attribute_block(number)
        there = attributes.decode_block(self._blocks.aside(block)) if block else {}
        return {**there, **self._inline_attributes(number)}

    def _write_attributes(self, number: int, about: Header) -> tuple[int, int]:
        """Its count of blocks so far, and its block of attributes."""
        merged = {**self._inline_attributes(number), **(about.attributes or {})}
        inline, outside = attributes.encode(merged)
        at = self._at(number)
        self.table[at + _INLINE : at + INODE_BYTES] = inline.ljust(attributes.INLINE_BYTES, b"\0")
        (blocks,) = _U32.unpack_from(self.table, at + _BLOCKS)
        block = self._attribute_block(number)
        if outside and not block:
            block, blocks = self._new_attribute_block(), blocks + 1
        if block:
            self._blocks.put(block, outside or attributes.encode_block())
        return blocks, block

    def _new_attribute_block(self) -> int:
        self._attribute_blocks += 1
        if self._attribute_blocks > MAX_ATTRIBUTE_BLOCKS:
            raise RefusedError(f"more than {MAX_ATTRIBUTE_BLOCKS} files with long attributes")
        return self._blocks.set_aside(1)

    def _attribute_block(self, number: int) -> int:
        return int(_U32.unpack_from(self.table, self._at(number) + _ATTRIBUTES)[0])

    def _inline_attributes(self, number: int) -> dict[bytes, bytes]:
        at = self._at(number)
        return attributes.decode_inline(bytes(self.table[at + _INLINE : at + INODE_BYTES]))

    def _add(self, at: int, more: int) -> None:
        _U32.pack_into(self.table, at, _U32.unpack_from(self.table, at)[0] + more)

    def _at(self, number: int) -> int:
        return (number - 1) * INODE_BYTES


def _moment(low: int, high: int) -> tuple[int, int]:
    """The reference's reading of a time: years after 2038 below 2106 come out as before 1970."""
    stored = low | high << 32
    if not stored:
        return NO_TIME, 0
    seconds, nanoseconds = stored & 0x3FFFFFFFF, stored >> 34
    if 0x7FFFFFFF < seconds < 0x100000000:
        seconds -= 1 << 32
    return seconds + nanoseconds // 10**9, nanoseconds % 10**9
