from libc.stdint cimport int64_t, uint8_t, uint64_t

from sealserve.native.cobblestone cimport Message
from sealserve.native.crypto cimport GCM_NONCE_BYTES, GCM_TAG_BYTES, gcm_key
from sealserve.native.verity cimport TrustedTree

cdef enum:
    PAGE = 4096
    SEALED_CHUNK = 16384 + GCM_TAG_BYTES
    UNIT_CHUNKS = 256
    UNIT = UNIT_CHUNKS * SEALED_CHUNK  # what a thread takes at a time: exactly 1025 pages
    # A piece, what it opens to, and the chunk that reaches over its end fit the 512 KiB of level 2
    # cache of small server cores; a hash batch is 64 pages or fewer.
    PIECE = 48 * PAGE


cdef enum Failure:
    NONE
    SHORT
    READ
    BLOCK
    HASH
    HEADER
    CHUNK
    PADDING
    WRITE


# Plaintext [start, start + size) goes into `memory`, or to `fd` at `offset` where that is NULL.
cdef struct Target:
    uint64_t start
    uint64_t size
    uint64_t reach  # the furthest end of this one and all before it
    uint64_t offset
    int fd
    uint8_t* memory


# What all walkers read and none changes. Offsets are the file's; targets are sorted by start.
cdef struct Payload:
    int fd
    const uint8_t* map  # the file once more, never read, or NULL: see _behind
    uint64_t header_bytes  # everything before the first chunk
    uint64_t payload_end
    uint64_t data_bytes
    const uint8_t* leaves
    const uint8_t* header
    uint8_t nonce[GCM_NONCE_BYTES]
    Target* targets
    Py_ssize_t target_count


# One thread's own memory, and what went wrong in it.
cdef struct Walker:
    const Payload* payload
    gcm_key* key
    uint8_t* ring  # a piece at CARRY, and in front of it the beginning of its first chunk
    uint8_t* plain
    Failure failure
    uint64_t where
    int code


cdef class _Opening:
    cdef Payload payload
    cdef Walker* walkers
    cdef Py_ssize_t walker_count
    cdef list kept  # views and the tree that the pointers in here point into
    cdef list rooms  # secret memory of each walker, for plaintext
    cdef uint64_t set_layout(
        self, object fd, object payload_offset, object payload_bytes, object data_bytes
    ) except? 0
    cdef set_tree(self, TrustedTree tree)
    cdef set_message(self, Message message)
    cdef set_targets(self, object destinations, uint64_t plain_bytes)
    cdef add_walkers(self, Py_ssize_t count, Message message)
    cdef require_rooms(self)
    cdef map_file(self)
    cdef wipe_buffers(self)


# Reads the file's pages from `at` to `end`, which hold the chunks from number `chunk` on up to
# `sealed_end`; opens and delivers those. `at` is the page in which chunk `chunk` begins.
cdef bint open_span(
    Walker* walker, uint64_t chunk, uint64_t at, uint64_t end, uint64_t sealed_end
) noexcept nogil

# The same for pages that were read to `pages` and checked before; chunk `chunk` begins at `at`.
cdef bint open_copy(
    Walker* walker, uint64_t chunk, uint64_t at, uint64_t end, const uint8_t* pages
) noexcept nogil

# Reads whole pages, once, and compares them with the tree.
cdef bint read_checked(Walker* walker, uint64_t start, uint64_t size, uint8_t* to) noexcept nogil

# Checks pages before the first chunk; the last of them ends in the message's header.
cdef bint check_header(Walker* walker, uint64_t start, uint64_t end) noexcept nogil

# Raises what a walker that returned False met; nothing if it met nothing.
cdef int raise_failure(Walker* walker) except -1

cdef void* allocate(size_t size) except NULL
