from libc.stdint cimport uint8_t, uint64_t


# Bytes into the area, and blocks; level 0 lies over the data, the last one is the top block.
cdef struct Level:
    uint64_t offset
    uint64_t blocks


cdef struct Geometry:
    uint64_t data_blocks
    uint64_t area_bytes
    int levels
    Level level[8]


cdef class TrustedTree:
    cdef Geometry shape
    cdef bytes area
    cdef const uint8_t* leaves
    cdef readonly bytes root
    cdef readonly object data_bytes


# The number (from 0) of the first of `count` blocks that has another digest than the one given
# for it; -1 if none, -2 if libcrypto fails. soon: NULL, or as many bytes that are wanted next.
cdef Py_ssize_t first_bad(
    const uint8_t* digests, const uint8_t* blocks, Py_ssize_t count, const uint8_t* soon
) noexcept nogil
