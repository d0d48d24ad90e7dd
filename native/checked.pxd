from libc.stdint cimport uint8_t, uint64_t

from sealserve.native.payload cimport Payload, Walker, _Opening
from sealserve.native.threads cimport flag_t, progress_t, pthread_t


# What the threads share. memory: room for every unit; there[i]: unit i stands in it, checked.
cdef struct Copy:
    const Payload* payload
    progress_t progress
    uint64_t units
    uint8_t* memory
    flag_t* there


cdef struct Reader:
    Copy* copy
    Walker walker
    pthread_t thread


cdef class CheckedCopy(_Opening):
    cdef Copy copy
    cdef Reader* readers
    cdef Py_ssize_t started
    cdef int process  # whose threads they are
    cdef bint taken
    cdef bint in_use
    cdef join(self)
    cdef free_room(self)
    cdef bint find_room(self)
    cdef start(self, Py_ssize_t count)
    cdef Copy* of(self, const Payload* payload) except NULL


# The pages of a unit, or NULL if they are not all there.
cdef const uint8_t* pages_of(Copy* copy, uint64_t unit) noexcept nogil

# Gives the memory of a unit back. Only for who had its pages, once they are not needed any more.
cdef void let_go(Copy* copy, uint64_t unit) noexcept nogil
