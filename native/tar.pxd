from libc.stdint cimport int64_t, uint8_t


cdef class Header:
    cdef public bytes name, link
    cdef public int kind
    cdef public bint gnu
    cdef public int64_t mode, uid, gid, size, device_major, device_minor
    cdef public int64_t modified, accessed, changed
    cdef public int modified_ns, accessed_ns, changed_ns
    cdef public dict attributes


# The header in a block of 512 bytes; None for zeros. Raises as `read_header`.
cdef Header header_of(const uint8_t* block)
