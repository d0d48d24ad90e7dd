# Pages of our own, and its neighbours in the list of those that forked children do not have.
cdef struct Mapping:
    void* data
    size_t size
    Mapping* next
    Mapping* previous


cdef class SecretBuffer:
    cdef unsigned char* data
    cdef Py_ssize_t size
    cdef Mapping mapping
    cdef Py_ssize_t exports
    cdef unsigned long forks
    cdef readonly bint inherited
    cdef readonly bint locked
    cdef readonly bint wiped
    cdef unsigned char* here(self) except NULL
    cdef bint is_here(self) noexcept
    cdef _unmap_when_unused(self)
    cdef _unmap(self)
