"""Records of an ext4 file system: inodes of 256 bytes, and the blocks of a directory.

A layer has as many of both as files, so they are written here. Where they go, and everything there
is once in a file system, belongs to whoever lays it out
(Linux Documentation/filesystems/ext4: inodes.rst, directory.rst).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from sealserve.native.tar cimport Header
from sealserve.native.views cimport View, readable, writable

cdef enum:
    BLOCK = 4096
    INODE = 256
    AREA = 60  # where a file's blocks are, or a short link's target
    IN_AREA = 40  # where that is in an inode
    EXTRA = 24  # fields after the first 128 bytes
    # A new block begins when an entry would leave less than one without a name behind it.
    LAST_ENTRY = 12

INODE_BYTES = INODE
AREA_BYTES = AREA
cdef int64_t NO_TIME = -62135596800  # tar.NO_TIME

# By the four bits of a mode that say what it is of (directory.rst, "file types").
cdef uint8_t[16] TYPES
TYPES[:] = [0, 5, 3, 0, 2, 0, 4, 0, 1, 0, 7, 0, 6, 0, 0, 0]


def write_inode(
    table, number, Header about not None, mode, size, links, blocks, flags, attribute_block,
    bytes area not None
):
    """Write the fields of an inode into its place; the attributes after them stay.

    number: from 1 on. about: owner, times. blocks: of 4096 bytes. area: at most 60 bytes, zeros
    follow. ValueError if the table has no such place or the area does not fit; OverflowError for
    numbers that are too large for their field.
    """
    cdef View target = writable(table)
    cdef Py_ssize_t at = number - 1
    if at < 0 or at >= target.size // INODE:
        raise ValueError(f"{target.size} bytes have no place for inode {number}")
    if len(area) > AREA:
        raise ValueError(f"an area of {len(area)} bytes; {AREA} fit")
    cdef uint8_t* to = target.data + at * INODE
    put_inode(to, about, mode, size, links, blocks, flags, attribute_block)
    memcpy(to + IN_AREA, PyBytes_AS_STRING(area), len(area))


cdef void put_inode(
    uint8_t* to, Header about, uint16_t mode, uint64_t size, uint16_t links, uint32_t blocks,
    uint32_t flags, uint32_t attribute_block
) noexcept:
    cdef uint64_t accessed = _time(about.accessed, about.accessed_ns)
    cdef uint64_t changed = _time(about.changed, about.changed_ns)
    cdef uint64_t modified = _time(about.modified, about.modified_ns)
    memset(to, 0, 128 + EXTRA)
    _put2(to, mode)
    _put2(to + 2, <uint16_t> (<uint64_t> about.uid))
    _put4(to + 4, <uint32_t> size)
    _put4(to + 8, <uint32_t> accessed)
    _put4(to + 12, <uint32_t> changed)
    _put4(to + 16, <uint32_t> modified)
    _put2(to + 24, <uint16_t> (<uint64_t> about.gid))
    _put2(to + 26, links)
    _put4(to + 28, blocks)
    _put4(to + 32, flags)
    _put4(to + 104, attribute_block)
    _put4(to + 108, <uint32_t> (size >> 32))
    _put2(to + 120, <uint16_t> (<uint64_t> about.uid >> 16))
    _put2(to + 122, <uint16_t> (<uint64_t> about.gid >> 16))
    _put2(to + 128, EXTRA)
    _put4(to + 132, <uint32_t> (changed >> 32))
    _put4(to + 136, <uint32_t> (modified >> 32))
    _put4(to + 140, <uint32_t> (accessed >> 32))
    _put4(to + 144, <uint32_t> modified)  # made when it was modified
    _put4(to + 148, <uint32_t> (modified >> 32))


cdef void put_extent(uint8_t* to, uint32_t first, uint16_t blocks) noexcept:
    _put2(to + IN_AREA, 0xF30A)
    _put2(to + IN_AREA + 2, 1)  # of
    _put2(to + IN_AREA + 4, 4)
    _put2(to + IN_AREA + 16, blocks)
    _put4(to + IN_AREA + 20, first)


cdef uint64_t _time(int64_t seconds, int nanoseconds) noexcept:
    """34 bits of seconds, then nanoseconds, as hcsshim computes it: the sign fills what is left."""
    if seconds == NO_TIME and nanoseconds == 0:
        return 0
    if seconds < -0x80000000:
        return 0x80000000
    if seconds > 0x37FFFFFFF:
        return 0x37FFFFFFF
    return <uint64_t> seconds | <uint64_t> nanoseconds << 34


def directory_blocks(table, number, parent, list children not None):
    """The blocks of a directory: itself, the one above, then its children in this order.

    children: pairs of an inode's number and a name of 1 to 255 bytes (ValueError). What each is
    comes from the table.
    """
    cdef View inodes = readable(table)
    cdef Py_ssize_t used = 0
    entries = [(number, b"."), (parent, b".."), *children]
    cdef Py_ssize_t bound = _room(entries)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, bound)
    cdef uint8_t* to = <uint8_t*> PyBytes_AS_STRING(made)
    memset(to, 0, bound)
    cdef Py_ssize_t left = BLOCK
    cdef Py_ssize_t record, inode
    for child, name in entries:
        record = _record_bytes(name)
        if left < record + LAST_ENTRY:
            used = _end_block(to, used, left)
            left = BLOCK
        inode = child
        _put_entry(to + used, inodes, inode, name, record)
        used += record
        left -= record
    return made[: _end_block(to, used, left)]


cdef Py_ssize_t _room(list entries) except -1:
    """Enough for all blocks: of each at least 4096 - 263 - 12 bytes hold entries."""
    cdef Py_ssize_t total = 0
    for _, name in entries:
        total += _record_bytes(name)
    return (total // (BLOCK - 264 - LAST_ENTRY) + 1) * BLOCK


cdef Py_ssize_t _record_bytes(bytes name) except -1:
    if not 0 < len(name) <= 255:
        raise ValueError(f"a name of {len(name)} bytes; an entry holds 1 to 255")
    return (8 + len(name) + 3) & ~3


cdef int _put_entry(
    uint8_t* to, View inodes, Py_ssize_t number, bytes name, Py_ssize_t record
) except -1:
    if number < 1 or number > inodes.size // INODE:
        raise ValueError(f"there is no inode {number}")
    cdef const uint8_t* inode = inodes.data + (number - 1) * INODE
    _put4(to, <uint32_t> number)
    _put2(to + 4, <uint16_t> record)
    to[6] = <uint8_t> len(name)
    to[7] = TYPES[inode[1] >> 4]
    memcpy(to + 8, PyBytes_AS_STRING(name), len(name))
    return 0


cdef Py_ssize_t _end_block(uint8_t* to, Py_ssize_t used, Py_ssize_t left) noexcept:
    """An entry without inode or name takes what is left of a block."""
    _put2(to + used + 4, <uint16_t> left)
    return used + left


cdef void _put2(uint8_t* to, uint16_t value) noexcept:
    to[0] = value & 0xFF
    to[1] = value >> 8


cdef void _put4(uint8_t* to, uint32_t value) noexcept:
    _put2(to, value & 0xFFFF)
    _put2(to + 2, value >> 16)
