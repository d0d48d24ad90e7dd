"""Ranges of a sealed payload in an open file: verified and decrypted, one at a time.

What was checked is only what was read: nothing is claimed about other ranges (DESIGN: Opening).
"""

import operator

from libc.stdint cimport uint64_t

from sealserve.native.cobblestone cimport Message
from sealserve.native.crypto cimport GCM_TAG_BYTES
from sealserve.native.payload cimport (
    PAGE,
    SEALED_CHUNK,
    Payload,
    Target,
    Walker,
    _Opening,
    allocate,
    check_header,
    open_span,
    raise_failure,
)
from sealserve.native.verity cimport TrustedTree
from sealserve.native.views cimport View, writable

cdef enum:
    CHUNK = 16384


cdef class Ranges(_Opening):
    """Reads plaintext ranges through one file descriptor, which stays the caller's.

    fd, payload_offset, payload_bytes, data_bytes, tree, message: as `load` takes them. The page
    that ends in the message's header is checked at once. One thread at a time, and not in a forked
    child (RuntimeError).
    Raises ValueError, FormatError, IntegrityError, OSError.
    """

    cdef readonly object plain_bytes
    cdef bint busy

    def __init__(
        self,
        fd,
        *,
        payload_offset,
        payload_bytes,
        data_bytes,
        TrustedTree tree not None,
        Message message not None,
    ):
        if self.walker_count:
            raise ValueError("these ranges are set up already")
        self.plain_bytes = self.set_layout(fd, payload_offset, payload_bytes, data_bytes)
        self.set_tree(tree)
        self.set_message(message)
        self.payload.targets = <Target*> allocate(sizeof(Target))
        self.payload.target_count = 1
        self.add_walkers(1, message)
        cdef uint64_t end = self.payload.header_bytes
        cdef bint done
        with nogil:
            done = check_header(self.walkers, end - PAGE, end)
        if not done:
            raise_failure(self.walkers)

    def read_into(self, start, out):
        """Fill `out` with the plaintext from byte `start` on; returns nothing.

        out: writable, contiguous; zeroed if this fails. Raises ValueError unless the range lies
        inside the plaintext, IntegrityError if the file is not what the tree and the message
        say, FormatError for padding that is not zero, OSError.
        """
        cdef View view = writable(out)
        cdef Target* target = self.payload.targets
        first = operator.index(start)
        if first < 0 or first + view.size > self.plain_bytes:
            raise ValueError(
                f"bytes {first} to {first + view.size}; the message holds {self.plain_bytes}"
            )
        if self.busy:
            raise ValueError("another thread is reading through these ranges")
        target.start = first
        target.size = view.size
        target.reach = target.start + target.size
        target.fd = -1
        target.memory = view.data
        self.require_rooms()
        self.busy = True
        try:
            self.walk()
        except BaseException:
            self.wipe_buffers()
            raise
        finally:
            self.busy = False

    cdef walk(self):
        cdef const Payload* payload = &self.payload
        cdef const Target* target = payload.targets
        cdef uint64_t chunk = target.start // CHUNK
        cdef uint64_t chunks = (target.reach + CHUNK - 1) // CHUNK
        cdef uint64_t begin = payload.header_bytes + chunk * SEALED_CHUNK
        cdef uint64_t sealed_end = payload.header_bytes + chunks * SEALED_CHUNK
        cdef bint done
        if not target.size:
            return
        if sealed_end > payload.payload_end:
            sealed_end = payload.payload_end
        with nogil:
            done = open_span(
                self.walkers,
                chunk,
                begin - begin % PAGE,
                (sealed_end + PAGE - 1) // PAGE * PAGE,
                sealed_end,
            )
        if not done:
            raise_failure(self.walkers)
