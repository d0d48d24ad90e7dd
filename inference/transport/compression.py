"""Messages that a caller compressed; what goes to callers never is."""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import Executor
from typing import Final

# The two that gRPC names, as zlib's `wbits` [grpc/grpc doc/compression.md].
_WINDOW: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
IDENTITY: Final = b"identity"
AT_ONCE_BYTES: Final = 32 * 1024  # unpacked in 0.2 ms; to hand them to a thread takes half of that


class CompressionError(Exception):
    """A message that is not what its encoding says."""


class TooLongError(Exception):
    """A message with more in it than a message may have."""


def known(encoding: bytes) -> bool:
    """Whether messages so encoded can be read."""
    return encoding == IDENTITY or encoding in _WINDOW


async def unpack(
    message: bytes | memoryview, encoding: bytes, most: int, thread: Executor
) -> bytes:
    """As `decompress`; what is long, or has much in it, does not hold up the event loop."""
    if len(message) <= AT_ONCE_BYTES:
        try:
            return decompress(message, encoding, min(most, AT_ONCE_BYTES))
        except TooLongError:
            if most <= AT_ONCE_BYTES:
                raise
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(thread, decompress, message, encoding, most)


def decompress(message: bytes | memoryview, encoding: bytes, most: int) -> bytes:
    """What is in it, of `most` bytes at most. Raises CompressionError, TooLongError."""
    if encoding == IDENTITY:
        raise CompressionError("a message is marked as compressed, and its call names no encoding")
    reader = zlib.decompressobj(_WINDOW[encoding])
    try:
        plain = reader.decompress(message, most + 1)
    except zlib.error as error:
        raise CompressionError(f"a message is not {encoding.decode()}") from error
    if len(plain) > most:
        raise TooLongError
    if not reader.eof or reader.unused_data:
        raise CompressionError(f"a message is not one whole {encoding.decode()}")
    return plain
