"""Where a load delivers to, and what must hold before it begins."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

PAGE_BYTES = 4096
MESSAGE_HEADER_BYTES = 56
MAX_THREADS = 64  # each holds 0.4 MiB of buffers
_INT_MAX = (1 << 31) - 1


class Cancelled(Exception):  # noqa: N818 - nothing went wrong: the caller asked for it
    """The caller's `cancelled` said so. Every destination is wiped."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Plaintext bytes [start, start + size) go to `fd` at `offset`, or into `buffer[offset:]`.

    Exactly one of the two is given. fd: open for writing, seekable. buffer: writable, contiguous.
    """

    start: int
    size: int
    fd: int | None = None
    buffer: Buffer | None = None
    offset: int = 0

    def check(self, plain_bytes: int) -> None:
        """Raise ValueError unless it lies inside this much plaintext and names one target."""
        if (self.fd is None) == (self.buffer is None):
            raise ValueError("a destination has either an fd or a buffer")
        if self.fd is not None and descriptor(self.fd) < 0:
            raise ValueError(f"fd is {self.fd}")
        start, size, offset = map(operator.index, (self.start, self.size, self.offset))
        if min(start, size, offset) < 0 or start + size > plain_bytes or offset >= 1 << 62:
            raise ValueError(
                f"destination of {size} bytes from {start} on, at {offset};"
                f" the message holds {plain_bytes}"
            )


def descriptor(fd: int) -> int:
    """As C counts them, or ValueError; one that is not open is for the system to refuse."""
    number = operator.index(fd)
    if abs(number) > _INT_MAX:
        raise ValueError(f"fd is {number}")
    return number


def check_layout(payload_offset: int, payload_bytes: int, data_bytes: int) -> None:
    """Raise ValueError unless the first chunk begins on a page and padding ends on the next one."""
    numbers = (payload_offset, payload_bytes, data_bytes)
    payload_offset, payload_bytes, data_bytes = map(operator.index, numbers)
    if payload_offset < 0 or (payload_offset + MESSAGE_HEADER_BYTES) % PAGE_BYTES:
        raise ValueError(
            f"payload_offset is {payload_offset}; the message's first chunk, which is"
            f" {MESSAGE_HEADER_BYTES} bytes further, must begin a page"
        )
    pages = -(-(payload_offset + payload_bytes) // PAGE_BYTES)
    if data_bytes != pages * PAGE_BYTES:
        raise ValueError(f"data_bytes is {data_bytes}; the payload ends within {pages} pages")


def check_threads(threads: int) -> int:
    """So many, or ValueError."""
    number = operator.index(threads)
    if not 1 <= number <= MAX_THREADS:
        raise ValueError(f"threads is {number}; 1 to {MAX_THREADS} are possible")
    return number
