"""Memory for keys and opened weights: locked if allowed, never in a core dump, zeroed at the end.

A forked child does not have it: the pages are the parent's alone (MADV_DONTFORK), and whoever asks
for them in the child is refused. Views that were handed out before find zeros there, like views of
what was wiped. What forked workers are meant to serve from is made with `inherited=True`.
"""

import os
import resource
import warnings

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno
from libc.string cimport memcpy

from sealserve.native.crypto cimport equal, wipe_memory
from sealserve.native.views cimport View, readable

from sealserve.native.errors import UnlockedMemoryWarning


cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void*, size_t, int, int, int, long)
    int munmap(void*, size_t)
    int mlock(const void*, size_t)
    int madvise(void*, size_t, int)
    void* MAP_FAILED
    int MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_READ, PROT_WRITE
    int MADV_DONTDUMP, MADV_DONTFORK


cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*)() noexcept nogil, void (*)() noexcept nogil,
                       void (*)() noexcept nogil)

cdef size_t PAGE_BYTES = 4096


cdef class SecretBuffer:
    """`size` zero bytes in pages of their own; writable, page aligned, zeroed when dropped.

    inherited: forked children have a copy of the bytes, which is theirs to wipe. Otherwise reading
    and writing in a child raises RuntimeError, and wiping there does nothing.
    Reading or writing goes through the buffer protocol: `memoryview(secret)`. `locked` says
    whether the kernel promised the process that made it never to swap it (RLIMIT_MEMLOCK may
    forbid that; the first time it does, UnlockedMemoryWarning says so). Once wiped, no new view
    can be had (ValueError), so that zeros are never taken for a key; views that exist stay valid
    and read zeros. Raises ValueError for a negative size, MemoryError if there is no room.
    """

    def __cinit__(self, Py_ssize_t size, *, bint inherited=False):
        if size < 0:
            raise ValueError(f"size is {size}; it cannot be negative")
        cdef size_t pages = (<size_t> size + PAGE_BYTES - 1) // PAGE_BYTES
        cdef size_t room = PAGE_BYTES * (pages if pages else 1)
        cdef void* memory = _map(NULL, room, 0)
        if memory == MAP_FAILED:
            raise MemoryError(f"no room for {size} secret bytes")
        self.data = <unsigned char*> memory
        self.size = size
        self.mapping.data = memory
        self.mapping.size = room
        self.forks = _forks
        self.inherited = inherited
        _advise(&self.mapping, MADV_DONTDUMP)
        if not inherited:
            _advise(&self.mapping, MADV_DONTFORK)
            _remember(&self.mapping)
        self.locked = mlock(memory, room) == 0
        if not self.locked:
            _warn_once(errno)

    @staticmethod
    def from_bytes(data):
        """A copy of `data`, not inherited; the original is the caller's to forget."""
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
        if self.data is not NULL and self.is_here():
            wipe_memory(self.data, self.size)
        self.wiped = True
        self._unmap_when_unused()

    cdef unsigned char* here(self) except NULL:
        """Where they are. ValueError once wiped, RuntimeError in a child that has none."""
        if self.wiped:
            raise ValueError("this secret was wiped")
        if not self.is_here():
            raise RuntimeError(
                f"this secret stayed in the process that made it; this one, {os.getpid()}, was"
                " forked from it"
            )
        return self.data

    cdef bint is_here(self) noexcept:
        return self.inherited or self.forks == _forks

    cdef _unmap_when_unused(self):
        if self.wiped and self.exports == 0:
            self._unmap()

    cdef _unmap(self):
        """In a child nothing: what is mapped there now may be somebody else's."""
        if self.data is NULL:
            return
        _forget(&self.mapping)
        if self.is_here():
            munmap(self.mapping.data, self.mapping.size)
        self.data = NULL

    def __dealloc__(self):
        if self.data is not NULL and self.is_here():
            wipe_memory(self.data, self.size)
        self._unmap()

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.here(), self.size, 0, flags)
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


cdef void* _map(void* where, size_t size, int flags) noexcept nogil:
    return mmap(
        where, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0
    )


cdef int _advise(Mapping* mapping, int advice) except -1:
    if madvise(mapping.data, mapping.size, advice) != 0:
        raise OSError(errno, f"cannot keep secrets to this process: {os.strerror(errno)}")
    return 0


# ---- swapping

cdef bint _warned = False


cdef _warn_once(int code):
    global _warned
    if _warned:
        return
    _warned = True
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    warnings.warn(
        f"keys and opened models may be swapped to a disk: {os.strerror(code)}, and the limit for"
        f" locked memory is {limit} bytes; raise it (ulimit -l), or switch swap off",
        UnlockedMemoryWarning,
    )


# ---- forking

# How often this process and those it comes from were forked off another one since the import.
cdef unsigned long _forks = 0
# The front of a list, through `next`, of every mapping that children do not have.
cdef Mapping _kept
_kept.next = _kept.previous = NULL


cdef void _remember(Mapping* mapping) noexcept:
    mapping.next = _kept.next
    mapping.previous = &_kept
    if mapping.next is not NULL:
        mapping.next.previous = mapping
    _kept.next = mapping  # last: a fork without the GIL finds a whole list at any time


cdef void _forget(Mapping* mapping) noexcept:
    if mapping.previous is NULL:
        return
    mapping.previous.next = mapping.next
    if mapping.next is not NULL:
        mapping.next.previous = mapping.previous
    mapping.previous = NULL


cdef void _in_the_child() noexcept nogil:
    """Zeros where the parent has secrets: a view from before the fork must not crash."""
    global _forks
    cdef Mapping* mapping = _kept.next
    _forks += 1
    while mapping is not NULL:
        _map(mapping.data, mapping.size, MAP_FIXED_NOREPLACE)
        mapping = mapping.next


if pthread_atfork(NULL, NULL, _in_the_child) != 0:
    raise MemoryError("no room to tell forked children what is not theirs")
