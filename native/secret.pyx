"""Memory for keys and opened weights: locked if allowed, never in a core dump, zeroed at the end.

The pages are inherited by fork on purpose: the process that opens a model forks its workers, and
they serve from the same pages. A child that must not hold the secret wipes its copy.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.string cimport memcpy

from sealserve.native.crypto cimport equal, wipe_memory
from sealserve.native.views cimport View, readable


cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void*, size_t, int, int, int, long)
    int munmap(void*, size_t)
    int mlock(const void*, size_t)
    int madvise(void*, size_t, int)
    void* MAP_FAILED
    int MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, MADV_DONTDUMP

cdef size_t PAGE_BYTES = 4096


cdef class SecretBuffer:
    """`size` zero bytes in pages of their own; writable, page aligned, zeroed when dropped.

    Reading or writing goes through the buffer protocol: `memoryview(secret)`. `locked` says
    whether the kernel promised never to swap it (RLIMIT_MEMLOCK may forbid that). Once wiped, no
    new view can be had (ValueError), so that zeros are never taken for a key; views that exist
    stay valid and read zeros. Raises ValueError for a negative size, MemoryError if there is no
    room.
    """

    def __cinit__(self, Py_ssize_t size):
        if size < 0:
            raise ValueError(f"size is {size}; it cannot be negative")
        cdef size_t pages = (<size_t> size + PAGE_BYTES - 1) // PAGE_BYTES
        self.mapped_bytes = PAGE_BYTES * (pages if pages else 1)
        cdef void* memory = mmap(
            NULL, self.mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0
        )
        if memory == MAP_FAILED:
            raise MemoryError(f"no room for {size} secret bytes")
        self.data = <unsigned char*> memory
        self.size = size
        madvise(memory, self.mapped_bytes, MADV_DONTDUMP)
        self.locked = mlock(memory, self.mapped_bytes) == 0

    @staticmethod
    def from_bytes(data):
        """A copy of `data`; the original is the caller's to forget."""
        cdef View source = readable(data)
        cdef SecretBuffer secret = SecretBuffer(source.size)
        if source.size:
            memcpy(secret.data, source.data, source.size)
        return secret

    def equals(self, other):
        """Whether `other` has the same bytes, in a time that depends on the length alone."""
        cdef View ours = readable(self)
        cdef View theirs = readable(other)
        return ours.size == theirs.size and bool(equal(ours.data, theirs.data, ours.size))

    def wipe(self):
        """Zero every byte, now. Doing it twice does no harm."""
        if self.data is not NULL:
            wipe_memory(self.data, self.size)
        self.wiped = True
        self._unmap_when_unused()

    cdef _unmap_when_unused(self):
        if self.wiped and self.exports == 0 and self.data is not NULL:
            munmap(self.data, self.mapped_bytes)
            self.data = NULL

    def __dealloc__(self):
        if self.data is not NULL:
            wipe_memory(self.data, self.size)
            munmap(self.data, self.mapped_bytes)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if self.wiped:
            raise ValueError("this secret was wiped")
        PyBuffer_FillInfo(buffer, self, self.data, self.size, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer* buffer):
        self.exports -= 1
        self._unmap_when_unused()

    def __len__(self):
        return self.size

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.wipe()

    def __repr__(self):
        return f"SecretBuffer({self.size} bytes)"

    def __reduce_ex__(self, protocol):
        raise TypeError("a SecretBuffer is never pickled or copied")

    def __copy__(self):
        raise TypeError("a SecretBuffer is never pickled or copied")

    def __deepcopy__(self, memo):
        raise TypeError("a SecretBuffer is never pickled or copied")
