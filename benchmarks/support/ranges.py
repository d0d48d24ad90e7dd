"""4 KiB ranges of an open handle, and their floor: the same pages, leaves and chunks, from C.

A burst goes over the same 64 places on both sides, so that no call of Python is charged to the
floor, and one for each place to ours.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from support.native import address, done, library, start_own
from support.sealed import PAGE, Sealed
from support.turns import Way

from sealserve.native.cobblestone import CHUNK_BYTES, SEALED_CHUNK_BYTES
from sealserve.native.ranges import Ranges
from sealserve.native.verity import digests_of

PAGES = 5  # that a sealed chunk lies in, wherever it begins
PLACES = 64


def read_into(sealed: Sealed, fd: int) -> Way:
    message = sealed.message(fd)
    ranges = Ranges(fd, **sealed.layout, tree=sealed.tree(fd), message=message)
    out = bytearray(PAGE)
    starts = [chunk * CHUNK_BYTES + PAGE for chunk in _chunks(sealed)]

    def run() -> None:
        for start in starts:
            ranges.read_into(start, out)

    return Way("Ranges.read_into", PLACES * PAGE, run)


def floor(sealed: Sealed, fd: int) -> Way:
    """Nothing that opening a range could leave out, by the kernels that ours uses."""
    native = library()
    key, _ = sealed.derived(fd)
    start_own(key)
    places = bytearray(b"".join(_places(sealed, fd)))
    return Way(
        "pread, five leaves, one chunk",
        PLACES * PAGE,
        lambda: done(native.bench_floor(fd, address(places), PLACES)),
    )


def _chunks(sealed: Sealed) -> list[int]:
    """Whole chunks all over the file, in an order that no prefetcher knows; the same for both."""
    whole = sealed.payload_bytes // SEALED_CHUNK_BYTES - 1
    return [place * 7919 % whole for place in range(1, PLACES + 1)]


def _places(sealed: Sealed, fd: int) -> Iterator[bytes]:
    """As native.c has them."""
    _, base = sealed.derived(fd)
    for chunk in _chunks(sealed):
        at = PAGE + chunk * SEALED_CHUNK_BYTES  # the first chunk begins the second page
        start = at % PAGE
        digests = digests_of(os.pread(fd, PAGES * PAGE, at - start))
        nonce = (base ^ chunk).to_bytes(12)
        yield struct.pack("=qQ12s160s4x", at - start, start, nonce, digests)
