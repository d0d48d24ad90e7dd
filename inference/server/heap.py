"""Room for prepacked weights in huge pages.

glibc asks the kernel for each large block alone, in pages of 4 KiB that are touched one by one:
a third of the time that prepacking takes. Inside the `with` block below they come from the heap
that `sbrk` grows, and that has huge pages, where the kernel gives any (/sys/kernel/mm/
transparent_hugepage/enabled is `madvise` or `always`). The memory needed is the same.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# malloc.h; the numbers of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER: Final = -1  # the largest size there is, once it is taken as one
_DEFAULT_MMAP_MAX: Final = 65536
# Where glibc's own thresholds end up in a process that frees large blocks (mallopt(3), dynamic
# threshold): it stops adjusting them once one is set.
_HIGHEST_THRESHOLD: Final = 32 * 2**20
_HUGE_PAGE: Final = 2 * 2**20
_SPARE_BYTES: Final = 16 * 2**20

_libc = ctypes.PyDLL(None)  # calls too short to let other threads go first
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


@contextmanager
def huge_pages(size_bytes: int) -> Iterator[None]:
    """Blocks of about so many bytes in all, made in this thread, come from huge pages.

    What is not used of it never becomes memory.
    """
    _libc.mallopt(_MMAP_MAX, 0)
    _libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        _advise(size_bytes + _SPARE_BYTES)
        yield
    finally:
        _libc.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
        _libc.mallopt(_MMAP_THRESHOLD, _HIGHEST_THRESHOLD)
        _libc.mallopt(_TRIM_THRESHOLD, 2 * _HIGHEST_THRESHOLD)
        _libc.malloc_trim(_HIGHEST_THRESHOLD)


def _advise(size_bytes: int) -> None:
    """Grow the heap by one block, and give it back to malloc, which goes on from where it began."""
    block = _libc.malloc(size_bytes)
    if block is None:
        return
    start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
    end = (block + size_bytes) // _HUGE_PAGE * _HUGE_PAGE
    _libc.madvise(start, end - start, mmap.MADV_HUGEPAGE)  # refused where there are none
    _libc.free(block)
