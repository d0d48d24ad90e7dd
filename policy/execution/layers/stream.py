"""A tar as it streams past: a window of it, how much there was, and on wish its SHA-256."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from sealserve.native.tar import BLOCK_BYTES, Header, read_header
from sealserve.policy.execution.layers.behind import HashesBehind
from sealserve.policy.execution.layers.limits import MAX_TAR_BYTES, MIB
from sealserve.policy.execution.layers.refused import RefusedError

WINDOW_BYTES = MIB
# One is read into while others are hashed.
WINDOWS = 3


class Source(Protocol):
    """What a layer is read from: any binary file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """As `io.RawIOBase.readinto`: 0 at the end."""
        ...


class Stream(HashesBehind):
    """Reads forwards, each byte once. digest: whether `sha256` will be asked for.

    forward: passes over bytes of the source unread, where that can be done.

    Raises RefusedError for a tar that ends inside of what has to be there.
    """

    def __init__(
        self,
        source: Source,
        *,
        digest: bool = False,
        forward: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self._source = source
        self._forward = forward
        self.window = memoryview(bytearray(WINDOW_BYTES))
        self._spare: deque[memoryview] = deque()
        self._hashing: deque[Future[None]] = deque()
        self._at = self._end = 0
        self.bytes_read = 0
        self._sha256 = hashlib.sha256() if digest else None

    def header(self) -> Header | None:
        """The next header, or None where the archive ends. A missing end is one too."""
        if not self._have(BLOCK_BYTES, "a header"):
            return None
        header = self._parsed()
        if header is not None or not self._have(BLOCK_BYTES, "the second block of zeros"):
            return header
        if self._parsed() is not None:
            raise RefusedError("a block of zeros, and then no second one but another entry")
        return None

    def _parsed(self) -> Header | None:
        try:
            header = read_header(self.window, self._at)
        except ValueError as error:
            place = f"at byte {self.position} of the tar" if self.position else "this is no tar"
            raise RefusedError(f"{place}: {error}") from None
        self._at += BLOCK_BYTES
        return header

    @property
    def position(self) -> int:
        """Bytes of the tar before what comes next."""
        return self.bytes_read - (self._end - self._at)

    @property
    def at_hand(self) -> memoryview:
        """What was read already; it stays until the next call."""
        return self.window[self._at : self._end]

    def advance(self, size: int) -> None:
        """Pass over what is at hand."""
        self._at += size

    def last_block(self) -> bytes:
        """The block that was the header just read."""
        return bytes(self.window[self._at - BLOCK_BYTES : self._at])

    def take_whole(self, size: int, padding: int) -> memoryview | None:
        """So many bytes, and what fills up their block passed over, if the window has all that."""
        start = self._at
        end = start + size
        if end + padding > self._end:
            return None
        self._at = end + padding
        return self.window[start:end]

    def take(self, most: int) -> memoryview:
        """The next bytes, at least one and at most this many; they stay until the next call."""
        if self._at == self._end and not self._refill():
            raise RefusedError("the tar ends inside of an entry")
        start = self._at
        self._at = min(start + most, self._end)
        return self.window[start : self._at]

    def read(self, size: int) -> bytes:
        """Exactly this many bytes."""
        parts = []
        while size:
            part = self.take(size)
            parts.append(bytes(part))
            size -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Leave out exactly this many bytes."""
        if self._forward and size > WINDOW_BYTES:
            size -= self._end - self._at
            self._at = self._end
            self._forward(size)
            self.bytes_read += size
            return
        while size:
            size -= len(self.take(size))

    def skip_padding(self, size: int) -> bool:
        """Leave out what fills up a block; False if the tar ends there, which is no fault."""
        while size:
            if self._at == self._end and not self._refill():
                return False
            size -= len(self.take(size))
        return True

    def sha256(self) -> bytes:
        """Of everything, what follows the archive's end too."""
        if self._sha256 is None:
            raise ValueError("this stream takes no digest")
        while self._refill():
            pass
        self._hasher.shutdown()
        return self._sha256.digest()

    def _have(self, size: int, what: str) -> bool:
        """Whether so many bytes stand in the window; False at the very end."""
        while self._end - self._at < size:
            left = self._end - self._at
            if not self._refill():
                if left:
                    raise RefusedError(f"the tar ends {left} bytes into {what}")
                return False
        return True

    def _refill(self) -> bool:
        """Read on behind what is left in the window, in the next one; False at the end."""
        rest = self.at_hand
        kept = len(rest)
        self._spare.append(self.window)
        self.window = self._next_window()
        self.window[:kept] = rest
        size = self._source.readinto(self.window[kept:]) or 0
        self._at, self._end = 0, kept + size
        self.bytes_read += size
        if self.bytes_read > MAX_TAR_BYTES:
            raise RefusedError(f"a tar of more than {MAX_TAR_BYTES} bytes")
        if self._sha256:
            new = self.window[kept : self._end]
            self._hashing.append(self._hasher.submit(self._sha256.update, new))
        return size > 0

    def _next_window(self) -> memoryview:
        """One that nobody hashes any more."""
        if len(self._spare) < WINDOWS:
            return memoryview(bytearray(WINDOW_BYTES))
        while len(self._hashing) >= WINDOWS:
            self._hashing.popleft().result()
        return self._spare.popleft()
