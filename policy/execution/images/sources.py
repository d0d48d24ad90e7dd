"""Bytes that are read forwards: plain ones, a part of them, and compressed ones."""

from __future__ import annotations

import gzip
import importlib
import io
import zlib
from pathlib import Path
from typing import Any

from sealserve.policy.execution.image import Progress
from sealserve.policy.execution.layers.limits import MIB
from sealserve.policy.execution.layers.refused import RefusedError
from sealserve.policy.execution.layers.stream import Source

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # RFC 1952 2.3.1; RFC 8878 3.1.1
_MAX_ZSTD_WINDOW_BYTES = 128 * MIB  # what the zstd program takes without being told
_PIECE_BYTES = MIB


class File(io.FileIO):
    """A file that tells in our words when it cannot be read."""

    def readinto(self, buffer: Any, /) -> int:
        """As `io.RawIOBase.readinto`. Raises RefusedError."""
        try:
            return super().readinto(buffer) or 0
        except OSError as error:
            raise RefusedError(f"cannot be read: {error.strerror}") from None


def open_file(path: Path) -> File:
    """A regular file; anything else might never end. Raises RefusedError."""
    try:
        if path.is_file():
            return File(path)
    except OSError as error:
        raise RefusedError(f"{path.name} cannot be read: {error.strerror}") from None
    raise RefusedError(f"there is no file {path.name}")


class Watched:
    """Bytes of which somebody wants to know how many were read. size: of all of them."""

    def __init__(self, source: Source, size: int, progress: Progress | None) -> None:
        self._source = source
        self._size = size
        self._progress = progress
        self._done = 0

    def readinto(self, buffer: memoryview, /) -> int:
        """As `io.RawIOBase.readinto`."""
        got = self._source.readinto(buffer) or 0
        self._done += got
        if self._progress:
            self._progress(self._done, self._size)
        return got


class _Begun(io.RawIOBase):
    """The whole of a source whose first bytes were read already."""

    def __init__(self, first: bytes, source: Source) -> None:
        self._first = first
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        if self._first:
            part, self._first = self._first[: len(view)], self._first[len(view) :]
            view[: len(part)] = part
            return len(part)
        return self._source.readinto(view) or 0


class _Decompressed:
    """What a decompressor gives; its own errors come out as ours."""

    def __init__(self, reader: Any, errors: tuple[type[Exception], ...], form: str) -> None:
        self._reader = reader
        self._errors = errors
        self._form = form

    def readinto(self, buffer: memoryview, /) -> int:
        """As `io.RawIOBase.readinto`. Raises RefusedError for what is no whole stream."""
        try:
            return int(self._reader.readinto(buffer))
        except self._errors as error:
            raise RefusedError(f"the {self._form} stream is broken or cut: {error}") from None


def is_compressed(first: bytes) -> bool:
    """Whether a file that begins so is gzip or zstd."""
    return first.startswith((_GZIP, _ZSTD))


def decompressed(source: Source) -> Source:
    """The same, or what it holds if it is gzip or zstd. Raises RefusedError."""
    first = read(source, len(_ZSTD))
    whole = _Begun(first, source)
    if first.startswith(_GZIP):
        reader = gzip.GzipFile(fileobj=io.BufferedReader(whole, _PIECE_BYTES))
        return _Decompressed(reader, (OSError, EOFError, zlib.error), "gzip")
    if first.startswith(_ZSTD):
        return _zstd(whole)
    return whole


def _zstd(whole: _Begun) -> Source:
    # Imported here: most layers are plain or gzip, and clients verify servers without it.
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise RefusedError(
            "zstd needs the package zstandard, which is not installed",
            "pip install 'sealserve[owner]'",
        ) from None
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW_BYTES)
    reader = decompressor.stream_reader(whole, read_across_frames=True)
    return _Decompressed(reader, (zstandard.ZstdError,), "zstd")


def read(source: Source, limit: int) -> bytes:
    """Everything that is left, but no more than `limit` bytes."""
    data = bytearray(limit)
    view = memoryview(data)
    size = 0
    while size < limit and (got := source.readinto(view[size:])):
        size += got
    return bytes(view[:size])


def skip(source: Source, size: int) -> None:
    """Read so many bytes, or to the end."""
    view = memoryview(bytearray(min(size, _PIECE_BYTES)))
    while size and (got := source.readinto(view[:size])):
        size -= got
