from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t


cdef extern from "crypto.h" nogil:
    # Only the type and the constants: the functions are reached through the cdefs below, so that
    # one module alone holds the C code and the opened library.
    ctypedef struct gcm_key:
        pass
    ctypedef enum gcm_direction:
        GCM_OPEN
        GCM_SEAL
    enum:
        GCM_KEY_BYTES
        GCM_NONCE_BYTES
        GCM_TAG_BYTES
        SHA256_BYTES
        SHA512_BYTES


# src/crypto.h says what each one promises.
cdef gcm_key* new_key(const uint8_t* key, gcm_direction direction) noexcept nogil
cdef void free_key(gcm_key* key) noexcept nogil
cdef bint seal_row(
    gcm_key* key,
    const uint8_t* base,
    uint64_t first,
    size_t chunk_bytes,
    size_t chunks,
    const uint8_t* plain,
    size_t plain_bytes,
    uint8_t* sealed,
) noexcept nogil
cdef size_t open_row(
    gcm_key* key,
    const uint8_t* base,
    uint64_t first,
    size_t chunk_bytes,
    const uint8_t* sealed,
    size_t sealed_bytes,
    uint8_t* plain,
) noexcept nogil
cdef bint hash_blocks(
    const uint8_t* salt, const uint8_t* blocks, size_t block_bytes, size_t count, uint8_t* digests
) noexcept nogil
cdef bint hash_blocks_before(
    const uint8_t* salt,
    const uint8_t* blocks,
    size_t block_bytes,
    size_t count,
    uint8_t* digests,
    const uint8_t* soon,
) noexcept nogil
cdef bint authenticate(
    const uint8_t* key, size_t key_bytes, const uint8_t* data, size_t data_bytes, uint8_t* mac
) noexcept nogil
cdef bint equal(const uint8_t* a, const uint8_t* b, size_t size) noexcept nogil
cdef void copy_past_cache(uint8_t* to, const uint8_t* data, size_t size) noexcept nogil
cdef void wipe_memory(void* memory, size_t size) noexcept nogil
