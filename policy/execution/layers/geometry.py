"""What there is once in an image: inode table, bitmaps, group descriptors, superblock.

They are written last, behind all data, as one flexible group (Linux
Documentation/filesystems/ext4: super.rst, group_descr.rst, bitmaps.rst). The sizes are those
the reference uses for disks of 128 GiB (hcsshim ext4/internal/compactext4, MaximumDiskSize).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sealserve.native.ext4 import INODE_BYTES
from sealserve.policy.execution.layers.blocks import Blocks
from sealserve.policy.execution.layers.inodes import FIRST, Inodes
from sealserve.policy.execution.layers.refused import RefusedError

BLOCK_BYTES = 4096
GROUP_BLOCKS = 8 * BLOCK_BYTES  # one block of bits
DESCRIPTOR_BLOCKS = 8
HEAD_BLOCKS = 1 + DESCRIPTOR_BLOCKS  # data begins behind them
_BITMAPS = 2  # blocks of each group
_INODES_IN_BLOCK = BLOCK_BYTES // INODE_BYTES

# block bitmap, inode bitmap, inode table, free blocks, free inodes, folders
_DESCRIPTOR = struct.Struct("<IIIHHH14x")
_DESCRIPTORS_IN_BLOCK = BLOCK_BYTES // _DESCRIPTOR.size
_MAX_GROUPS = DESCRIPTOR_BLOCKS * _DESCRIPTORS_IN_BLOCK

_SUPERBLOCK_AT = 1024
_MAGIC = 0xEF53
_COMPATIBLE = 0x208  # sparse_super2, ext_attr
_INCOMPATIBLE = 0x242  # filetype, extents, flex_bg
_READ_ONLY = 0x104A  # large_file, huge_file, extra_isize, readonly
_EXTRA_INODE_BYTES = 24
_GROUPS_IN_FLEX = 31  # as a power of two: all of them


@dataclass(frozen=True)
class Groups:
    """count groups of GROUP_BLOCKS, each with so many inodes."""

    count: int
    inodes: int

    @classmethod
    def fewest(cls, blocks: int, inodes: int) -> Groups:
        """Of the ways to have so many blocks in front of the table, that with fewest groups."""
        inodes_in_group = range(_INODES_IN_BLOCK, GROUP_BLOCKS + 1, _INODES_IN_BLOCK)
        return cls(*min((_groups_for(blocks, inodes, each), each) for each in inodes_in_group))


def _groups_for(blocks: int, inodes: int, inodes_in_group: int) -> int:
    data_blocks = GROUP_BLOCKS - inodes_in_group // _INODES_IN_BLOCK - _BITMAPS
    needed = max(blocks, (inodes - 1) // inodes_in_group * data_blocks + 1)
    return -(-needed // data_blocks)


def finish(blocks: Blocks, inodes: Inodes, folders: Iterable[int]) -> None:
    """Write everything after the data, and the blocks set aside in front of it.

    folders: the inode numbers of all folders.
    """
    table = blocks.next
    groups = Groups.fewest(table, inodes.count)
    if groups.count > _MAX_GROUPS:
        raise RefusedError(f"an image of {groups.count} groups; at most {_MAX_GROUPS} fit")
    blocks.write(memoryview(inodes.table))
    blocks.zeros(groups.count * groups.inodes * INODE_BYTES - len(inodes.table))
    layout = _Layout(groups, table, blocks.next, inodes.count)
    folders_in = Counter((number - 1) // groups.inodes for number in folders)
    described = [layout.write_group(blocks, number) for number in range(groups.count)]
    blocks.zeros((layout.disk - layout.end) * BLOCK_BYTES)
    _put_descriptors(
        blocks,
        b"".join(layout.descriptor(*each, folders_in[each[0]]) for each in described),
    )
    free_blocks = sum(free for _, free, _ in described)
    free_inodes = sum(free for _, _, free in described)
    blocks.put(0, bytes(_SUPERBLOCK_AT) + _superblock(layout, free_blocks, free_inodes))


def _put_descriptors(blocks: Blocks, descriptors: bytes) -> None:
    for number in range(DESCRIPTOR_BLOCKS):
        blocks.put(1 + number, descriptors[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES])


@dataclass(frozen=True)
class _Layout:
    """table, bitmaps: first block of each. last_inode: the highest number in use."""

    groups: Groups
    table: int
    bitmaps: int
    last_inode: int

    @property
    def end(self) -> int:
        """The first block behind everything."""
        return self.bitmaps + _BITMAPS * self.groups.count

    @property
    def disk(self) -> int:
        """Blocks of the image: the last group has at least one."""
        return max(self.end, (self.groups.count - 1) * GROUP_BLOCKS + 1)

    def write_group(self, blocks: Blocks, group: int) -> tuple[int, int, int]:
        """Write the bitmaps of a group; returns its number, free blocks and free inodes."""
        taken = self._taken_blocks(group)
        used = min(max(self.last_inode - group * self.groups.inodes, 0), self.groups.inodes)
        blocks.write(taken.to_bytes(BLOCK_BYTES, "little"))
        blocks.write(((1 << used) - 1).to_bytes(BLOCK_BYTES, "little"))
        return group, GROUP_BLOCKS - taken.bit_count(), self.groups.inodes - used

    def _taken_blocks(self, group: int) -> int:
        """A bit for each block of the group, the lowest for the first."""
        used = min(max(self.end - group * GROUP_BLOCKS, 0), GROUP_BLOCKS)
        taken = (1 << used) - 1
        if group == 0:
            first_unused = 1 + -(-self.groups.count // _DESCRIPTORS_IN_BLOCK)
            taken &= ~((1 << HEAD_BLOCKS) - (1 << first_unused))
        if group == self.groups.count - 1 and self.disk % GROUP_BLOCKS:
            taken |= (1 << GROUP_BLOCKS) - (1 << self.disk % GROUP_BLOCKS)  # not on the disk
        return taken

    def descriptor(self, group: int, free_blocks: int, free_inodes: int, folders: int) -> bytes:
        bitmap = self.bitmaps + _BITMAPS * group
        table = self.table + group * self.groups.inodes // _INODES_IN_BLOCK
        return _DESCRIPTOR.pack(bitmap, bitmap + 1, table, free_blocks, free_inodes, folders)


def _superblock(layout: _Layout, free_blocks: int, free_inodes: int) -> bytes:
    """super.rst; no UUID, no label and no times, so that equal layers are equal images."""
    block = bytearray(1024)
    groups = layout.groups
    struct.pack_into(
        "<11I",
        *(block, 0, groups.inodes * groups.count, layout.disk, 0, free_blocks, free_inodes, 0),
        *(2, 2, GROUP_BLOCKS, GROUP_BLOCKS, groups.inodes),  # 2: blocks of 1024 << 2
    )
    struct.pack_into("<HHH", block, 56, _MAGIC, 1, 1)  # clean; errors are passed over
    struct.pack_into("<I", block, 76, 1)  # revision with inodes of any size
    struct.pack_into("<IH", block, 84, FIRST, INODE_BYTES)
    struct.pack_into("<III", block, 92, _COMPATIBLE, _INCOMPATIBLE, _READ_ONLY)
    struct.pack_into("<HH", block, 348, _EXTRA_INODE_BYTES, _EXTRA_INODE_BYTES)
    struct.pack_into("<B", block, 372, _GROUPS_IN_FLEX)
    struct.pack_into("<I", block, 616, FIRST)  # lost+found
    return bytes(block)
