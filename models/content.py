"""Where the bytes of an entry come from: ranges of the owner's files, and bytes made here."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sealserve.native.errors import InputError

BLOCK_BYTES = 1 << 20  # read at a time: large enough to stream, small enough to stay in the cache

Advance = Callable[[int], None]  # is told how many bytes were read since it was last called


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A regular file as it was when sealing began; reading it later checks that it still is.

    path: without symbolic links, so that what is opened is what was looked at.
    """

    path: Path
    size: int
    stamp: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """Note a file. Raises InputError unless it is a regular file that can be read."""
        try:
            real = path.resolve(strict=True)
            state = real.stat()
        except (OSError, RuntimeError) as error:
            raise InputError(f"cannot read {path}: {_reason(error)}") from error
        if not stat.S_ISREG(state.st_mode):
            raise InputError(f"{path} is not a regular file")
        return cls(real, state.st_size, _stamp(state))

    def open(self) -> int:
        """A descriptor to read from; the caller closes it. Raises InputError if it changed."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {_reason(error)}") from error
        state = os.fstat(fd)
        if (state.st_size, _stamp(state)) != (self.size, self.stamp):
            os.close(fd)
            raise self.changed()
        return fd

    def changed(self) -> InputError:
        """The error for a file that is not what it was."""
        return InputError(f"{self.path} changed while it was being sealed", hint="seal it again")


@dataclass(frozen=True, slots=True)
class FileRange:
    """`size` bytes of a file from `offset` on, which lie inside it."""

    file: SourceFile
    offset: int
    size: int


Piece = FileRange | bytes
Content = tuple[Piece, ...]


def size_of(content: Content) -> int:
    """Bytes in all."""
    return sum(piece.size if isinstance(piece, FileRange) else len(piece) for piece in content)


def whole(file: SourceFile) -> Content:
    """All of a file."""
    return (FileRange(file, 0, file.size),)


def stream(content: Iterable[Piece], advance: Advance) -> Iterator[memoryview]:
    """The bytes in order; each block is good until the next is asked for. Raises InputError."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    for piece in content:
        blocks = (
            _file_blocks(piece, buffer) if isinstance(piece, FileRange) else [memoryview(piece)]
        )
        for block in blocks:
            advance(len(block))
            yield block


def read(piece: FileRange) -> bytes:
    """A range that is known to be small."""
    return b"".join(map(bytes, _file_blocks(piece, memoryview(bytearray(BLOCK_BYTES)))))


def _file_blocks(piece: FileRange, buffer: memoryview) -> Iterator[memoryview]:
    fd = piece.file.open()
    try:
        position, end = piece.offset, piece.offset + piece.size
        while position < end:
            got = os.preadv(fd, [buffer[: end - position]], position)
            if not got:
                raise piece.file.changed()
            yield buffer[:got]
            position += got
    except OSError as error:
        raise InputError(f"cannot read {piece.file.path}: {_reason(error)}") from error
    finally:
        os.close(fd)


def _stamp(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_dev, state.st_ino, state.st_mtime_ns


def _reason(error: OSError | RuntimeError) -> str:
    # Path.resolve raises RuntimeError for a loop of symbolic links, without an errno.
    return (isinstance(error, OSError) and error.strerror) or str(error)
