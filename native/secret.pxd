cdef class SecretBuffer:
    cdef unsigned char* data
    cdef Py_ssize_t size
    cdef size_t mapped_bytes
    cdef Py_ssize_t exports
    cdef readonly bint locked
    cdef readonly bint wiped
    cdef _unmap_when_unused(self)
