"""Seals a part of a message into a file and hashes what it writes, while that is in the cache.

The other way round of payload.pyx: pieces of plaintext become chunks, whole pages of those are
hashed and written, and what reaches over a page's end waits for the next piece.
"""

import operator
import os

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memmove, memset
from posix.unistd cimport pwrite

from sealserve.native.cobblestone cimport Message, seal_chunks
from sealserve.native.crypto cimport (
    GCM_KEY_BYTES,
    GCM_NONCE_BYTES,
    GCM_SEAL,
    GCM_TAG_BYTES,
    SHA256_BYTES,
    free_key,
    gcm_key,
    hash_blocks_before,
    wipe_memory,
)
from sealserve.native.views cimport View, overlap, readable, writable

from sealserve.native.cobblestone import MAX_CHUNKS as _MAX_CHUNKS
from sealserve.native.destination import descriptor

cdef enum:
    PAGE = 4096
    CHUNK = 16384
    SEALED_CHUNK = CHUNK + GCM_TAG_BYTES
    UNIT = 256  # chunks: exactly 1025 pages
    # Plaintext, chunks and page digests of a piece fit a level 2 cache of 512 KiB.
    PIECE = 12  # chunks
    RING = PAGE + PIECE * SEALED_CHUNK + PAGE  # what is left over, the chunks, padding

UNIT_PLAIN_BYTES = UNIT * CHUNK
_MAX_OFFSET = 1 << 62  # where a unit still ends inside what `off_t` counts

cdef uint8_t[SHA256_BYTES] ZERO_SALT
memset(ZERO_SALT, 0, SHA256_BYTES)

cdef enum Outcome:
    DONE
    CRYPTO
    WRITE


cdef struct Sealing:
    int fd
    uint64_t offset  # in the file, of the page at the ring's start
    uint64_t left  # bytes in the ring that are no page yet
    uint8_t* digests
    uint8_t* ring
    int code  # why a write failed


def pages_of(plain_bytes, *, bint last):
    """Pages that `seal_unit` writes for this much plaintext."""
    size = operator.index(plain_bytes)
    return -(-(size + (size // CHUNK + last) * GCM_TAG_BYTES) // PAGE)


def seal_unit(fd, offset, Message message not None, first_chunk, plain, digests, *, bint last):
    """Write `plain` as the chunks from number `first_chunk` on, and the digest of each page.

    offset: in the file, a multiple of 4096, of the first chunk. first_chunk: a multiple of 256.
    plain: 256 chunks, or with `last` the rest of the message, at most that; it ends in a shorter
    chunk, behind which the page is filled up with zeros. digests: takes 32 bytes a page.
    Returns the pages written. Other threads run meanwhile, and may seal other units.
    Raises ValueError for arguments that do not fit, OSError if the file cannot be written.
    """
    cdef View source = readable(plain)
    cdef View leaves = writable(digests)
    cdef Sealing work
    _check(operator.index(offset), operator.index(first_chunk), source, last)
    cdef uint64_t first = first_chunk
    cdef Py_ssize_t pages = pages_of(source.size, last=last)
    if leaves.size != pages * SHA256_BYTES:
        raise ValueError(f"digests has {leaves.size} bytes; {pages * SHA256_BYTES} are needed")
    if overlap(source, leaves):
        raise ValueError("digests overlaps the text")
    cdef uint8_t base[GCM_NONCE_BYTES]
    cdef Outcome outcome
    work.fd = descriptor(fd)
    work.offset = offset
    work.left = 0
    work.digests = leaves.data
    work.ring = <uint8_t*> PyMem_RawMalloc(RING)
    if work.ring is NULL:
        raise MemoryError(f"no room for {RING} bytes")
    cdef gcm_key* key = NULL
    try:
        key = message.schedule(GCM_SEAL)
        memcpy(base, message.secrets() + GCM_KEY_BYTES, GCM_NONCE_BYTES)
        with nogil:
            outcome = _run(&work, key, base, first, source.data, source.size, last)
    finally:
        free_key(key)
        wipe_memory(base, GCM_NONCE_BYTES)
        PyMem_RawFree(work.ring)
    if outcome == CRYPTO:
        raise MemoryError("libcrypto could not seal or hash")
    if outcome == WRITE:
        raise OSError(work.code, f"cannot write the sealed payload: {os.strerror(work.code)}")
    return pages


cdef int _check(object offset, object first, View plain, bint last) except -1:
    if not 0 <= offset < _MAX_OFFSET or offset % PAGE:
        raise ValueError(f"a unit at {offset}; it begins at a page of a file")
    if not 0 <= first < _MAX_CHUNKS - UNIT or first % UNIT:
        raise ValueError(f"chunk {first} begins no unit; one in 256 of {_MAX_CHUNKS} does")
    if plain.size > UNIT_PLAIN_BYTES or (plain.size != UNIT_PLAIN_BYTES and not last):
        raise ValueError(f"{plain.size} bytes are no unit of {UNIT_PLAIN_BYTES}, and not the last")
    return 0


cdef Outcome _run(
    Sealing* work,
    gcm_key* key,
    const uint8_t* base,
    uint64_t chunk,
    const uint8_t* plain,
    uint64_t size,
    bint last,
) noexcept nogil:
    cdef uint64_t chunks = size // CHUNK + last  # still to be sealed
    cdef uint64_t here, take, rest
    cdef Outcome outcome
    while chunks:
        here = min(chunks, <uint64_t> PIECE)
        take = min(size, here * CHUNK)
        if not seal_chunks(key, base, chunk, here, plain, take, work.ring + work.left):
            return CRYPTO
        work.left += take + here * GCM_TAG_BYTES
        chunk += here
        chunks -= here
        plain += take
        size -= take
        if last and not chunks:
            rest = (PAGE - work.left % PAGE) % PAGE
            memset(work.ring + work.left, 0, rest)
            work.left += rest
        outcome = _flush(work, plain)
        if outcome != DONE:
            return outcome
    return DONE


cdef Outcome _flush(Sealing* work, const uint8_t* soon) noexcept nogil:
    """Hash and write the whole pages; what is left over moves to the front.

    soon: the plaintext that follows, to be fetched from memory meanwhile.
    """
    cdef uint64_t pages = work.left // PAGE
    cdef uint64_t done = 0
    cdef uint64_t size = pages * PAGE
    cdef ssize_t put
    if not hash_blocks_before(ZERO_SALT, work.ring, PAGE, pages, work.digests, soon):
        return CRYPTO
    work.digests += pages * SHA256_BYTES
    while done < size:
        put = pwrite(work.fd, work.ring + done, size - done, work.offset + done)
        if put > 0:
            done += put
        elif put == 0 or errno != EINTR:
            work.code = errno if put else EIO
            return WRITE
    work.offset += size
    work.left -= size
    memmove(work.ring, work.ring + size, work.left)
    return DONE
