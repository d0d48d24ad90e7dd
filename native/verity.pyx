"""The dm-verity hash tree of a file, as `veritysetup format` writes it, and blocks checked by it.

Format 1, SHA-256, blocks of 4096 bytes on both sides, a salt of 32 zero bytes, a UUID of zeros
(Linux Documentation/admin-guide/device-mapper/verity.rst; cryptsetup lib/verity/verity.c for the
superblock). A digest is SHA-256(salt || block). An *area* is the page of the superblock, then the
levels, top first, each filled up to a block with zeros. One block of data needs no tree: its root
is its own digest.
"""

import operator
import struct

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcmp, memcpy, memset

from sealserve.native.crypto cimport SHA256_BYTES, equal, hash_blocks, hash_blocks_before
from sealserve.native.views cimport View, readable

from dataclasses import dataclass

from sealserve.native.errors import FormatError, IntegrityError

cdef enum:
    BLOCK = 4096
    FANOUT = 128  # digests in a block
    BATCH = 64  # leaves hashed before they are compared: 256 KiB, so they are still in the cache

BLOCK_BYTES = BLOCK
DIGEST_BYTES = SHA256_BYTES
# Seven levels of 128 digests cover 2^61 bytes; a message inside ends at 4 PiB, so does this.
MAX_DATA_BYTES = 1 << 52

cdef uint8_t[SHA256_BYTES] ZERO_SALT
memset(ZERO_SALT, 0, SHA256_BYTES)


@dataclass(frozen=True)
class Tree:
    """root: 32 bytes, the file's identity. area: superblock page and levels."""

    root: bytes
    area: bytes


def tree_size(data_bytes):
    """Bytes of the area over this much data: a positive multiple of 4096 (ValueError)."""
    cdef Geometry shape
    _measure(data_bytes, &shape)
    return shape.area_bytes


def root_of(area, data_bytes):
    """The root this area claims: the digest of its top block. Nothing below is looked at.

    Raises FormatError unless the area has the one length and superblock that this much data
    allows. One block of data has no tree to claim anything: FormatError too.
    """
    cdef Geometry shape
    _measure(data_bytes, &shape)
    cdef View source = readable(area)
    _check_superblock(source, &shape, FormatError)
    if not shape.levels:
        raise FormatError("one block of data has no hash tree; its root is its own digest")
    return _digest(source.data + shape.level[shape.levels - 1].offset)


def digests_of(data):
    """The leaves of this much data, 32 bytes a block. ValueError unless it is whole blocks."""
    cdef View source = readable(data)
    if source.size % BLOCK:
        raise ValueError(f"{source.size} bytes are not whole blocks of {BLOCK}")
    return _digests(source.data, source.size // BLOCK)


def tree_of(digests):
    """The tree over leaves that were hashed before, 32 bytes each, at least one (ValueError)."""
    cdef View leaves = readable(digests)
    if leaves.size % SHA256_BYTES:
        raise ValueError(f"{leaves.size} bytes are not whole digests of {SHA256_BYTES}")
    cdef Geometry shape
    _measure(leaves.size // SHA256_BYTES * BLOCK, &shape)
    return _grow(&shape, leaves)


cdef class TreeBuilder:
    """Hashes data as it streams past; keeps 32 bytes per 4096. For one thread at a time."""

    cdef bytearray leaves
    cdef uint8_t pending[BLOCK]
    cdef Py_ssize_t pending_bytes
    cdef bint busy

    def __cinit__(self):
        self.leaves = bytearray()

    def update(self, data):
        """Add the next bytes, any number of them. ValueError after `finish`."""
        cdef View source = readable(data)
        self._check_open()
        self.busy = True  # hashing lets other threads run, and they must not find us half-way
        try:
            self._add(source)
        finally:
            self.busy = False

    def finish(self):
        """The tree over everything. ValueError unless that is whole blocks, at least one."""
        self._check_open()
        if self.pending_bytes:
            raise ValueError(f"the data ends {self.pending_bytes} bytes into a block of {BLOCK}")
        cdef Geometry shape
        _measure(len(self.leaves) // SHA256_BYTES * BLOCK, &shape)
        leaves, self.leaves = self.leaves, None
        return _grow(&shape, readable(leaves))

    cdef _add(self, View source):
        cdef Py_ssize_t head = min(source.size, (BLOCK - self.pending_bytes) % BLOCK)
        self._fill(source.data, head)
        cdef Py_ssize_t blocks = (source.size - head) // BLOCK
        cdef Py_ssize_t rest = (source.size - head) % BLOCK
        if blocks:
            self.leaves += _digests(source.data + head, blocks)
        self._fill(source.data + head + blocks * BLOCK, rest)

    cdef _check_open(self):
        if self.leaves is None:
            raise ValueError("this tree is finished")
        if self.busy:
            raise ValueError("another thread is updating this tree")

    cdef _fill(self, const uint8_t* data, Py_ssize_t size):
        if not size:
            return
        memcpy(self.pending + self.pending_bytes, data, size)
        self.pending_bytes += size
        if self.pending_bytes == BLOCK:
            self.pending_bytes = 0
            self.leaves += _digest(self.pending)


cdef class TrustedTree:
    """A private copy of a tree, verified from a root that came from outside."""

    def __init__(self):
        raise TypeError("use TrustedTree.load")

    @staticmethod
    def load(area, data_bytes, root):
        """Copy the area unless it is `bytes`, which nobody changes, then verify it top down.

        root: 32 bytes. Raises IntegrityError for whatever is not the tree of that root over this
        much data: length, superblock, a block of hashes, or what fills up the last of a level.
        """
        cdef TrustedTree tree = TrustedTree.__new__(TrustedTree)
        cdef Geometry* shape = &tree.shape
        _measure(data_bytes, shape)
        cdef View wanted = readable(root)
        if wanted.size != SHA256_BYTES:
            raise ValueError(f"root has {wanted.size} bytes; {SHA256_BYTES} are needed")
        cdef View source = readable(area)
        _check_superblock(source, shape, IntegrityError)
        tree.area = area if type(area) is bytes else (<char*> source.data)[: source.size]
        tree.root = (<char*> wanted.data)[:SHA256_BYTES]
        tree.data_bytes = shape.data_blocks * BLOCK
        _verify(tree.area, shape, tree.root)
        cdef bytes leaves = tree.area if shape.levels else tree.root
        tree.leaves = <const uint8_t*> leaves + (shape.level[0].offset if shape.levels else 0)
        return tree

    def check(self, offset, data):
        """Compare data with the tree.

        offset: of the data in the file, and its length: multiples of 4096 inside the file
        (ValueError). Raises IntegrityError naming the first block that differs.
        """
        cdef View source = readable(data)
        start = operator.index(offset)
        if start < 0 or start % BLOCK or source.size % BLOCK:
            raise ValueError(f"{source.size} bytes at {start} are not whole blocks of {BLOCK}")
        if start + source.size > self.shape.data_blocks * BLOCK:
            raise ValueError(
                f"bytes {start} to {start + source.size} are not inside the {self.data_bytes} bytes"
                " of this tree"
            )
        cdef uint64_t first = start // BLOCK
        cdef Py_ssize_t count = source.size // BLOCK
        cdef Py_ssize_t bad
        with nogil:
            bad = first_bad(self.leaves + first * SHA256_BYTES, source.data, count, NULL)
        if bad == -2:
            raise MemoryError("libcrypto could not hash")
        if bad >= 0:
            raise IntegrityError(f"block {first + bad} is not the one in the hash tree")


cdef int _measure(object data_bytes, Geometry* shape) except -1:
    size = operator.index(data_bytes)
    if size <= 0 or size % BLOCK or size > MAX_DATA_BYTES:
        raise ValueError(f"{size} bytes; a tree covers whole blocks of {BLOCK}, at most 4 PiB")
    cdef uint64_t blocks = size // BLOCK
    cdef uint64_t offset = BLOCK
    cdef int i
    shape.data_blocks = blocks
    shape.levels = 0
    while blocks > 1:
        blocks = (blocks + FANOUT - 1) // FANOUT
        shape.level[shape.levels].blocks = blocks
        shape.levels += 1
    for i in reversed(range(shape.levels)):
        shape.level[i].offset = offset
        offset += shape.level[i].blocks * BLOCK
    shape.area_bytes = offset
    return 0


cdef bytes _superblock(const Geometry* shape):
    """cryptsetup lib/verity/verity.c, struct verity_sb; the rest of its page is zero."""
    return struct.pack(
        "<8sII16s32sIIQH6x256s168x",
        b"verity\0\0",
        1,  # version
        1,  # hash type: the salt comes first
        bytes(16),  # UUID
        b"sha256",
        BLOCK,
        BLOCK,
        shape.data_blocks,
        SHA256_BYTES,  # of salt
        bytes(256),
    ).ljust(BLOCK, b"\0")


cdef int _check_superblock(View area, const Geometry* shape, object error) except -1:
    if <uint64_t> area.size != shape.area_bytes:
        raise error(
            f"the hash tree has {area.size} bytes; {shape.data_blocks} blocks of data have one"
            f" of {shape.area_bytes}"
        )
    cdef bytes wanted = _superblock(shape)
    if memcmp(area.data, <const uint8_t*> wanted, BLOCK):
        raise error(
            f"the superblock is not the one for {shape.data_blocks} blocks of data",
            hint="format 1, sha256, blocks of 4096, a salt of 32 zero bytes and no UUID",
        )
    return 0


cdef object _grow(const Geometry* shape, View leaves):
    """The levels from the leaves upwards, each written where it belongs."""
    if not shape.levels:
        return Tree((<char*> leaves.data)[:SHA256_BYTES], _superblock(shape))
    cdef bytes area = PyBytes_FromStringAndSize(NULL, shape.area_bytes)
    cdef uint8_t* to = <uint8_t*> PyBytes_AS_STRING(area)
    cdef bytes superblock = _superblock(shape)
    cdef const uint8_t* head = <const uint8_t*> PyBytes_AS_STRING(superblock)
    cdef bint done = True
    cdef int i
    with nogil:
        memset(to, 0, shape.area_bytes)
        memcpy(to, head, BLOCK)
        memcpy(to + shape.level[0].offset, leaves.data, leaves.size)
        for i in range(1, shape.levels):
            done = done and hash_blocks(
                ZERO_SALT,
                to + shape.level[i - 1].offset,
                BLOCK,
                shape.level[i - 1].blocks,
                to + shape.level[i].offset,
            )
    if not done:
        raise MemoryError("libcrypto could not hash")
    return Tree(_digest(to + shape.level[shape.levels - 1].offset), area)


cdef int _verify(bytes area, const Geometry* shape, bytes root) except -1:
    """Each level against the one above it, the top block against the root."""
    cdef const uint8_t* start = <const uint8_t*> area
    cdef const uint8_t* wanted = <const uint8_t*> root
    cdef uint64_t digests
    cdef Py_ssize_t bad
    cdef int i
    for i in reversed(range(shape.levels)):
        with nogil:
            bad = first_bad(
                wanted, start + shape.level[i].offset, shape.level[i].blocks, NULL
            )
        if bad == -2:
            raise MemoryError("libcrypto could not hash")
        if bad >= 0 and i == shape.levels - 1:
            seen = _digest(start + shape.level[i].offset).hex()
            raise IntegrityError(
                f"root is {seen}; wanted {root.hex()}", hint="another model, or an altered file"
            )
        if bad >= 0:
            raise IntegrityError(f"block {bad} of level {i} is not the one in the hash tree")
        wanted = start + shape.level[i].offset
        digests = shape.level[i - 1].blocks if i else shape.data_blocks
        if not _zero(wanted + digests * SHA256_BYTES, shape.level[i].blocks * BLOCK
                     - digests * SHA256_BYTES):
            raise IntegrityError(f"level {i} of the hash tree is not filled up with zeros")
    return 0


cdef Py_ssize_t first_bad(
    const uint8_t* digests, const uint8_t* blocks, Py_ssize_t count, const uint8_t* soon
) noexcept nogil:
    cdef uint8_t seen[BATCH * SHA256_BYTES]
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t i, batch
    while done < count:
        batch = min(count - done, <Py_ssize_t> BATCH)
        if not hash_blocks_before(ZERO_SALT, blocks + done * BLOCK, BLOCK, batch, seen,
                                  soon + done * BLOCK if soon is not NULL else NULL):
            return -2
        for i in range(batch):
            if not equal(seen + i * SHA256_BYTES, digests + (done + i) * SHA256_BYTES,
                         SHA256_BYTES):
                return done + i
        done += batch
    return -1


cdef bint _zero(const uint8_t* data, uint64_t size) noexcept nogil:
    cdef uint64_t i
    cdef uint8_t seen = 0
    for i in range(size):
        seen |= data[i]
    return seen == 0


cdef bytes _digests(const uint8_t* blocks, Py_ssize_t count):
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, count * SHA256_BYTES)
    cdef uint8_t* to = <uint8_t*> PyBytes_AS_STRING(digests)
    cdef bint done
    with nogil:
        done = hash_blocks(ZERO_SALT, blocks, BLOCK, count, to)
    if not done:
        raise MemoryError("libcrypto could not hash")
    return digests


cdef bytes _digest(const uint8_t* block):
    return _digests(block, 1)
