from libc.stdint cimport int64_t, uint8_t, uint64_t

from sealserve.native.crypto cimport gcm_direction, gcm_key
from sealserve.native.secret cimport SecretBuffer


cdef class Message:
    cdef SecretBuffer derived
    cdef readonly bytes header
    cdef const uint8_t* secrets(self) except NULL
    cdef gcm_key* schedule(self, gcm_direction direction) except NULL


# Opens chunks `first`, `first` + 1, … of `size` sealed bytes, the last one as short as it comes.
# -1, or the number of the first chunk that does not authenticate (its plaintext and that
# of all behind it wiped, that of the chunks before it still in `plain`).
cdef int64_t open_chunks(
    gcm_key* key,
    const uint8_t* base_nonce,
    uint64_t first,
    const uint8_t* sealed,
    size_t size,
    uint8_t* plain,
) noexcept nogil

# Seals `size` bytes as `chunks` chunks from number `first` on, the last one as short as it comes.
cdef bint seal_chunks(
    gcm_key* key,
    const uint8_t* base_nonce,
    uint64_t first,
    size_t chunks,
    const uint8_t* plain,
    size_t size,
    uint8_t* sealed,
) noexcept nogil
