from cpython.buffer cimport Py_buffer


cdef class View:
    cdef Py_buffer buffer
    cdef unsigned char* data
    cdef Py_ssize_t size


cdef View readable(object exporter)
cdef View writable(object exporter)
cdef bint overlap(View a, View b) noexcept
