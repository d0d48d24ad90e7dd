"""Contiguous bytes of somebody else's object, held while C works on them.

Any contiguous buffer will do, whatever its element type. Without one: TypeError for what has no
buffer at all, BufferError (numpy: ValueError) for what is not contiguous or may not be written.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)


cdef class View:
    """Releases the buffer when the last reference goes, whichever way the function is left."""

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


cdef View readable(object exporter):
    return _hold(exporter, PyBUF_SIMPLE)


cdef View writable(object exporter):
    return _hold(exporter, PyBUF_WRITABLE)


cdef bint overlap(View a, View b) noexcept:
    cdef size_t first = <size_t> a.data
    cdef size_t second = <size_t> b.data
    return (
        a.size > 0
        and b.size > 0
        and first < second + <size_t> b.size
        and second < first + <size_t> a.size
    )


cdef View _hold(object exporter, int flags):
    cdef View view = View.__new__(View)
    PyObject_GetBuffer(exporter, &view.buffer, flags)
    view.data = <unsigned char*> view.buffer.buf
    view.size = view.buffer.len
    return view
