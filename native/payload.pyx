"""A sealed payload in a file, walked through in pieces that stay in a core's cache.

Each piece is read once into memory of our own, every page compared with the trusted tree, then the
chunks that are whole opened, and only then delivered: no byte arrives that was not verified, and
none is read twice. `load` walks through all of it on several threads, `Ranges` through a part, and
`CheckedCopy` goes the first half of the way before there is a key.
"""

import operator
import os

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memmove
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, madvise, mmap, munmap
from posix.unistd cimport pread, pwrite

from sealserve.native.cobblestone cimport Message, open_chunks
from sealserve.native.crypto cimport (
    GCM_KEY_BYTES,
    GCM_NONCE_BYTES,
    GCM_OPEN,
    GCM_TAG_BYTES,
    SHA256_BYTES,
    copy_past_cache,
    equal,
    free_key,
    wipe_memory,
)
from sealserve.native.secret cimport SecretBuffer
from sealserve.native.verity cimport TrustedTree, first_bad
from sealserve.native.views cimport View, writable

from sealserve.native.cobblestone import plain_size
from sealserve.native.destination import Destination, check_layout, descriptor
from sealserve.native.errors import FormatError, IntegrityError

cdef extern from "<linux/mman.h>" nogil:
    int MADV_POPULATE_READ  # Linux 5.14; older ones refuse it


cdef enum:
    MESSAGE_HEADER = 56
    WHOLE_CHUNKS = 11 * SEALED_CHUNK  # what is opened at a time where no piece has to be read
    CARRY = 5 * PAGE  # room for a chunk that is not whole yet, so that pieces stay aligned
    RING = CARRY + PIECE
    PIECE_PLAIN = PIECE + 16384  # a piece and nearly a whole chunk in front of it, without tags
    FAR = 1 << 20  # a destination from this size on is not in the cache any more when it is full


cdef class _Opening:
    """Owns what walkers use, for longer than they live."""

    def __cinit__(self):
        self.kept = []
        self.rooms = []

    def __dealloc__(self):
        cdef Py_ssize_t i
        wipe_memory(self.payload.nonce, GCM_NONCE_BYTES)
        for i in range(self.walker_count):
            free_key(self.walkers[i].key)
            PyMem_RawFree(self.walkers[i].ring)
        PyMem_RawFree(self.walkers)
        if self.payload.map is not NULL:
            munmap(<void*> self.payload.map, self.payload.data_bytes)
        PyMem_RawFree(self.payload.targets)

    cdef uint64_t set_layout(
        self, object fd, object payload_offset, object payload_bytes, object data_bytes
    ) except? 0:
        """Returns the bytes of plaintext. Raises ValueError, FormatError."""
        cdef Payload* payload = &self.payload
        plain_bytes = plain_size(payload_bytes)
        check_layout(payload_offset, payload_bytes, data_bytes)
        payload.fd = descriptor(fd)
        payload.header_bytes = payload_offset + MESSAGE_HEADER
        payload.payload_end = payload_offset + payload_bytes
        payload.data_bytes = data_bytes
        return plain_bytes

    cdef set_tree(self, TrustedTree tree):
        if self.payload.data_bytes != tree.shape.data_blocks * <uint64_t> PAGE:
            raise ValueError(
                f"data_bytes is {self.payload.data_bytes}; the tree covers {tree.data_bytes}"
            )
        self.payload.leaves = tree.leaves
        self.kept.append(tree)

    cdef set_message(self, Message message):
        self.payload.header = <const uint8_t*> message.header
        memcpy(self.payload.nonce, message.secrets() + GCM_KEY_BYTES, GCM_NONCE_BYTES)
        self.kept.append(message.header)

    cdef set_targets(self, object destinations, uint64_t plain_bytes):
        cdef list wanted = list(destinations)
        cdef uint64_t reach = 0
        cdef Target* target
        cdef View view
        for destination in wanted:
            if not isinstance(destination, Destination):
                raise TypeError(f"{type(destination).__name__} is no Destination")
            destination.check(plain_bytes)
        wanted.sort(key=_start)  # so that a piece finds its own among thousands
        self.payload.targets = <Target*> allocate(len(wanted) * sizeof(Target))
        for destination in wanted:
            target = &self.payload.targets[self.payload.target_count]
            target.start = destination.start
            target.size = destination.size
            target.offset = destination.offset
            reach = max(reach, target.start + target.size)
            target.reach = reach
            target.fd = -1
            if destination.fd is None:
                view = writable(destination.buffer)
                if destination.offset + destination.size > view.size:
                    raise ValueError(
                        f"a buffer of {view.size} bytes cannot take {destination.size} at"
                        f" {destination.offset}"
                    )
                self.kept.append(view)
                target.memory = view.data + target.offset
            else:
                target.fd = destination.fd
            self.payload.target_count += 1

    cdef add_walkers(self, Py_ssize_t count, Message message):
        """Only once, before any of them walks."""
        cdef SecretBuffer plain
        cdef Walker* walker
        self.walkers = <Walker*> allocate(count * sizeof(Walker))
        for _ in range(count):
            walker = &self.walkers[self.walker_count]
            self.walker_count += 1
            walker.payload = &self.payload
            walker.ring = <uint8_t*> allocate(RING)
            walker.key = message.schedule(GCM_OPEN)
            plain = SecretBuffer(PIECE_PLAIN)
            walker.plain = plain.data
            self.rooms.append(plain)

    cdef map_file(self):
        """For a walk through all of it: see `_behind`. Where it cannot be, the walk is slower."""
        cdef void* map = mmap(NULL, self.payload.data_bytes, PROT_READ, MAP_SHARED,
                              self.payload.fd, 0)
        if map != MAP_FAILED:
            self.payload.map = <const uint8_t*> map

    cdef require_rooms(self):
        """RuntimeError in a forked child: what walkers open chunks into stayed behind."""
        cdef SecretBuffer plain
        for plain in self.rooms:
            plain.here()

    cdef wipe_buffers(self):
        """Zero every range of memory that was to be filled."""
        cdef Py_ssize_t i
        for i in range(self.payload.target_count):
            if self.payload.targets[i].memory is not NULL:
                wipe_memory(self.payload.targets[i].memory, self.payload.targets[i].size)


def _start(destination):
    return operator.index(destination.start)


cdef bint check_header(Walker* walker, uint64_t start, uint64_t end) noexcept nogil:
    """The message that is opened is the one that stands in the file."""
    cdef uint64_t size = MESSAGE_HEADER
    cdef uint64_t piece = 0
    while start < end:
        piece = min(end - start, <uint64_t> PIECE)
        if not read_checked(walker, start, piece, walker.ring + CARRY):
            return False
        start += piece
    if end < walker.payload.header_bytes:
        return True
    if equal(walker.ring + CARRY + piece - size, walker.payload.header, size):
        return True
    return _fail(walker, HEADER, 0, 0)


cdef bint open_span(
    Walker* walker, uint64_t chunk, uint64_t at, uint64_t end, uint64_t sealed_end
) noexcept nogil:
    """Piece by piece: what was checked is opened while it is still in the cache."""
    cdef const Payload* payload = walker.payload
    # where the first chunk that is not open begins
    cdef uint64_t opened = payload.header_bytes + chunk * <uint64_t> SEALED_CHUNK
    cdef uint64_t begin = opened
    cdef uint64_t piece, ready
    while at < end:
        piece = min(end - at, <uint64_t> PIECE)
        if not read_checked(walker, at, piece, walker.ring + CARRY):
            return False
        at += piece
        if at == payload.data_bytes and not _padded(walker, walker.ring + CARRY + piece):
            return False
        ready = sealed_end if at >= sealed_end else at - (at - begin) % SEALED_CHUNK
        if not _open(walker, &chunk, walker.ring + CARRY + piece - (at - opened), ready - opened):
            return False
        opened = ready
        if at < end:
            memmove(walker.ring + CARRY - (at - opened), walker.ring + RING - (at - opened),
                    at - opened)
    return True


cdef bint open_copy(
    Walker* walker, uint64_t chunk, uint64_t at, uint64_t end, const uint8_t* pages
) noexcept nogil:
    cdef const Payload* payload = walker.payload
    cdef uint64_t size = min(end, payload.payload_end) - at
    cdef uint64_t opened = 0
    cdef uint64_t piece
    if end == payload.data_bytes and not _padded(walker, pages + (end - at)):
        return False
    while opened < size:
        piece = min(size - opened, <uint64_t> WHOLE_CHUNKS)
        if not _open(walker, &chunk, pages + opened, piece):
            return False
        opened += piece
    return True


cdef bint _padded(Walker* walker, const uint8_t* end) noexcept nogil:
    """The last page ends in zeros behind the message. end: of that page."""
    cdef uint64_t rest = walker.payload.data_bytes - walker.payload.payload_end
    if _zero(end - rest, rest):
        return True
    return _fail(walker, PADDING, walker.payload.payload_end, 0)


cdef bint read_checked(Walker* walker, uint64_t start, uint64_t size, uint8_t* to) noexcept nogil:
    cdef uint64_t block = start // PAGE
    cdef uint64_t have = 0
    cdef ssize_t got
    cdef Py_ssize_t bad
    while have < size:
        got = pread(walker.payload.fd, to + have, size - have, start + have)
        if got == 0:
            return _fail(walker, SHORT, start + have, 0)
        if got < 0 and errno != EINTR:
            return _fail(walker, READ, start + have, errno)
        if got > 0:
            have += got
    bad = first_bad(walker.payload.leaves + block * SHA256_BYTES, to, size // PAGE,
                    _behind(walker.payload, start + size))
    if bad == -1:
        return True
    return _fail(walker, HASH if bad == -2 else BLOCK, block + bad, 0)


cdef const uint8_t* _behind(const Payload* payload, uint64_t at) noexcept nogil:
    """The piece of the file that follows, to be fetched from memory while the one before is hashed.

    An address that is prefetched and never read: whatever happens to the file, no signal and no
    second reading comes of it. Its pages are only entered in the page table, by a call that answers
    with an error where they are gone.
    """
    cdef uint64_t size = min(payload.data_bytes - at, <uint64_t> PIECE)
    if payload.map is NULL or size == 0:
        return NULL
    if madvise(<void*> (payload.map + at), size, MADV_POPULATE_READ) != 0:
        return NULL
    return payload.map + at


cdef bint _open(
    Walker* walker, uint64_t* chunk, const uint8_t* sealed, uint64_t size
) noexcept nogil:
    """Open and deliver whole chunks, or the message's last ones; `chunk` counts them."""
    cdef uint64_t chunks = (size + SEALED_CHUNK - 1) // SEALED_CHUNK
    cdef uint64_t first = chunk[0]
    cdef int64_t bad = open_chunks(
        walker.key, walker.payload.nonce, first, sealed, size, walker.plain
    )
    if bad >= 0:
        return _fail(walker, CHUNK, bad, 0)
    chunk[0] = first + chunks
    return _deliver(walker, first * 16384, size - chunks * GCM_TAG_BYTES)


cdef bint _deliver(Walker* walker, uint64_t start, uint64_t size) noexcept nogil:
    cdef Py_ssize_t i = _first_beyond(walker.payload, start)
    cdef Target* target
    cdef uint64_t begin, end
    cdef const uint8_t* data
    while i < walker.payload.target_count and walker.payload.targets[i].start < start + size:
        target = &walker.payload.targets[i]
        i += 1
        begin = max(start, target.start)
        end = min(start + size, target.start + target.size)
        if begin >= end:
            continue
        data = walker.plain + (begin - start)
        if target.memory is not NULL:
            _put(target, begin, data, end - begin)
        elif not _write(walker, target, begin, data, end - begin):
            return False
    return True


cdef void _put(Target* target, uint64_t begin, const uint8_t* data, uint64_t size) noexcept nogil:
    cdef uint8_t* to = target.memory + (begin - target.start)
    if target.size < FAR:
        memcpy(to, data, size)
    else:
        copy_past_cache(to, data, size)


cdef Py_ssize_t _first_beyond(const Payload* payload, uint64_t start) noexcept nogil:
    """The first target that it or one before it reaches beyond `start`: none earlier does."""
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t high = payload.target_count
    cdef Py_ssize_t middle
    while low < high:
        middle = (low + high) // 2
        if payload.targets[middle].reach > start:
            high = middle
        else:
            low = middle + 1
    return low


cdef bint _write(
    Walker* walker, Target* target, uint64_t begin, const uint8_t* data, uint64_t size
) noexcept nogil:
    cdef uint64_t at = target.offset + (begin - target.start)
    cdef ssize_t put
    while size:
        put = pwrite(target.fd, data, size, at)
        if put == 0:
            return _fail(walker, WRITE, begin, EIO)
        if put < 0 and errno != EINTR:
            return _fail(walker, WRITE, begin, errno)
        if put > 0:
            data += put
            at += put
            size -= put
    return True


cdef bint _fail(Walker* walker, Failure failure, uint64_t where, int code) noexcept nogil:
    walker.failure = failure
    walker.where = where
    walker.code = code
    return False


cdef bint _zero(const uint8_t* data, uint64_t size) noexcept nogil:
    cdef uint64_t i
    for i in range(size):
        if data[i]:
            return False
    return True


cdef int raise_failure(Walker* walker) except -1:
    where = walker.where
    if walker.failure == NONE:
        return 0
    if walker.failure == SHORT:
        raise IntegrityError(
            f"the file ends at or before byte {where}; it has to have {walker.payload.data_bytes}"
        )
    if walker.failure == READ:
        raise OSError(walker.code, f"cannot read byte {where}: {os.strerror(walker.code)}")
    if walker.failure == BLOCK:
        raise IntegrityError(f"block {where} is not the one in the hash tree")
    if walker.failure == HASH:
        raise MemoryError("libcrypto could not hash")
    if walker.failure == HEADER:
        raise IntegrityError("the message's header in the file is not the one it is opened with")
    if walker.failure == CHUNK:
        raise IntegrityError(f"chunk {where} does not authenticate")
    if walker.failure == PADDING:
        raise FormatError(f"the bytes from {where} on, behind the last chunk, are not zero")
    raise OSError(walker.code, f"cannot write plaintext: {os.strerror(walker.code)}")


cdef void* allocate(size_t size) except NULL:
    cdef void* memory = PyMem_RawCalloc(1, size or 1)
    if memory is NULL:
        raise MemoryError(f"no room for {size} bytes")
    return memory
