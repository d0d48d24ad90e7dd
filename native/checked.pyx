"""A sealed payload, read and compared with its tree while there is no key yet to open it with.

Hashing takes most of what opening takes, and needs no key. Whole units are read into memory of our
own, once, and their pages checked there; `load` opens them from it, and reads what is not there.
"""

from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport uint8_t, uint64_t
from posix.mman cimport (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
    madvise,
    mmap,
    munmap,
)
from posix.unistd cimport getpid

from sealserve.native.payload cimport PIECE, UNIT, Payload, allocate, read_checked
from sealserve.native.threads cimport (
    add_done,
    bytes_done,
    flag_t,
    is_raised,
    let_others_go_first,
    pthread_join,
    raise_flag,
    request_stop,
    start_thread,
    stop_requested,
    take_unit,
)
from sealserve.native.verity cimport TrustedTree

from sealserve.native.destination import check_threads

cdef extern from "<sys/mman.h>" nogil:
    int MADV_DONTNEED, MADV_HUGEPAGE


cdef class CheckedCopy(_Opening):
    """Begins at once, on threads that everybody else goes before; use it in a `with` block.

    fd, payload_offset, payload_bytes, data_bytes, tree, threads: as `load` takes them; fd stays
    open until the end of the block. It grows to data_bytes of memory if it is given the time, and
    shrinks as `load` opens it; at the end of the block there is nothing left. It holds ciphertext.
    Nothing is raised for what cannot be read or is not what the tree says: it is left out, and
    `load` will say so. Where there is no room for it or no thread to be had, it stays empty.
    Raises ValueError, FormatError for arguments that do not fit.
    """

    def __init__(
        self,
        fd,
        *,
        payload_offset,
        payload_bytes,
        data_bytes,
        TrustedTree tree not None,
        threads=2,
    ):
        if self.copy.payload is not NULL:
            raise ValueError("this copy is set up already")
        cdef Py_ssize_t count = check_threads(threads)
        self.set_layout(fd, payload_offset, payload_bytes, data_bytes)
        self.set_tree(tree)
        self.copy.payload = &self.payload
        self.copy.units = (
            self.payload.data_bytes - self.payload.header_bytes + UNIT - 1
        ) // UNIT
        self.copy.there = <flag_t*> allocate(self.copy.units * sizeof(flag_t))
        self.readers = <Reader*> allocate(count * sizeof(Reader))
        if self.find_room():
            self.map_file()
            self.start(count)

    @property
    def checked_bytes(self):
        """How much is there, or was before it was opened."""
        return bytes_done(&self.copy.progress)

    def close(self):
        """No thread of ours runs once this returns; each ends within a piece. Nothing stays.

        ValueError while a load has it.
        """
        if self.in_use:
            raise ValueError("a load is using this copy")
        self.taken = True
        self.join()
        self.free_room()

    cdef join(self):
        """Not in a forked child: the threads stayed behind."""
        request_stop(&self.copy.progress)
        if self.process != getpid():
            self.started = 0
        while self.started:
            self.started -= 1
            with nogil:
                pthread_join(self.readers[self.started].thread, NULL)

    cdef free_room(self):
        if self.copy.memory is not NULL:
            munmap(self.copy.memory, self.copy.units * UNIT)
            self.copy.memory = NULL

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        self.join()
        self.free_room()
        PyMem_RawFree(self.readers)
        PyMem_RawFree(self.copy.there)

    cdef bint find_room(self):
        cdef size_t size = self.copy.units * UNIT
        cdef void* memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if memory == MAP_FAILED:
            return False
        madvise(memory, size, MADV_HUGEPAGE)  # refused where there are none
        self.copy.memory = <uint8_t*> memory
        return True

    cdef start(self, Py_ssize_t count):
        cdef Reader* reader
        self.process = getpid()
        for _ in range(count):
            reader = &self.readers[self.started]
            reader.copy = &self.copy
            reader.walker.payload = &self.payload
            if start_thread(&reader.thread, _work, reader):
                return
            self.started += 1

    cdef Copy* of(self, const Payload* payload) except NULL:
        """For a load of the same bytes; what is not in the copy by now is read by the load."""
        if (
            self.payload.leaves != payload.leaves
            or self.payload.header_bytes != payload.header_bytes
            or self.payload.payload_end != payload.payload_end
        ):
            raise ValueError("the copy is of another payload, or was checked with another tree")
        if self.taken:
            raise ValueError("a load has had this copy, or it is closed")
        self.taken = self.in_use = True
        request_stop(&self.copy.progress)
        return &self.copy


cdef const uint8_t* pages_of(Copy* copy, uint64_t unit) noexcept nogil:
    return copy.memory + unit * UNIT if is_raised(&copy.there[unit]) else NULL


cdef void let_go(Copy* copy, uint64_t unit) noexcept nogil:
    madvise(copy.memory + unit * UNIT, UNIT, MADV_DONTNEED)


cdef void* _work(void* argument) noexcept nogil:
    cdef Reader* reader = <Reader*> argument
    cdef Copy* copy = reader.copy
    let_others_go_first()
    cdef uint64_t unit = take_unit(&copy.progress)
    while unit < copy.units and not stop_requested(&copy.progress):
        if not _read(reader, unit):
            request_stop(&copy.progress)
        unit = take_unit(&copy.progress)
    return NULL


cdef bint _read(Reader* reader, uint64_t unit) noexcept nogil:
    cdef Copy* copy = reader.copy
    cdef uint64_t begin = copy.payload.header_bytes + unit * UNIT
    cdef uint64_t end = min(begin + UNIT, copy.payload.data_bytes)
    cdef uint8_t* to = copy.memory + unit * UNIT
    cdef uint64_t at = begin
    cdef uint64_t size
    while at < end:
        size = min(end - at, <uint64_t> PIECE)
        if stop_requested(&copy.progress):
            return False
        if not read_checked(&reader.walker, at, size, to + (at - begin)):
            return False
        at += size
    raise_flag(&copy.there[unit])
    add_done(&copy.progress, end - begin)
    return True
