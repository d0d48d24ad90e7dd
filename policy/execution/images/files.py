"""Where the files of an image are: in a folder, or in one archive, plain or compressed.

Nothing is unpacked: names are looked up among an archive's own members, which are read where they
stand.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sealserve.policy.execution.images.sources import (
    decompressed,
    is_compressed,
    open_file,
    read,
    skip,
)
from sealserve.policy.execution.layers import tar
from sealserve.policy.execution.layers.refused import RefusedError, shown
from sealserve.policy.execution.layers.stream import Source, Stream

MAX_DOCUMENT_BYTES = 4 << 20  # of a manifest or a configuration, as registries have it
MAX_MEMBERS = 1 << 17  # an image has at most 127 layers, an archive some hundreds of images
_MAX_HOPS = 8  # of links to links


@dataclass(frozen=True)
class Blob:
    """One file, as it is stored. size: in bytes."""

    source: Source
    size: int


class Files(Protocol):
    """The files an image consists of, by the names they have there."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        ...

    def place(self, name: str) -> int:
        """Files are best read in the order of their places. Raises RefusedError."""
        ...

    def reading(self) -> AbstractContextManager[Callable[[str], Blob]]:
        """A function that opens a file, to be read before the next one is opened.

        Both raise RefusedError.
        """
        ...


def document(files: Files, name: str) -> bytes:
    """The whole of a small file. Raises RefusedError."""
    with files.reading() as open_blob:
        blob = open_blob(name)
        if blob.size > MAX_DOCUMENT_BYTES:
            raise RefusedError(
                f"{name} has {blob.size} bytes; at most {MAX_DOCUMENT_BYTES} are read"
            )
        return read(blob.source, blob.size)


class Folder:
    """Files under a folder; the names come from whoever knows that they lead nowhere else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def has(self, name: str) -> bool:
        """Whether there is a regular file of this name."""
        return (self._path / name).is_file()

    def place(self, name: str) -> int:
        """All are equally near."""
        return 0

    @contextmanager
    def reading(self) -> Iterator[Callable[[str], Blob]]:
        """A function that opens a file."""
        with ExitStack() as opened:

            def open_blob(name: str) -> Blob:
                file = opened.enter_context(open_file(self._path / name))
                return Blob(file, os.fstat(file.fileno()).st_size)

            yield open_blob


@dataclass(frozen=True)
class _Member:
    start: int
    size: int


class Archive:
    """Members of a tar. Raises RefusedError for what is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, _Member] = {}
        self._links: dict[str, str] = {}
        self._twice: set[str] = set()
        with _Reader(path) as reader:
            for name, member in _listed(reader):
                if name in self._members or name in self._links:
                    self._twice.add(name)
                if isinstance(member, str):
                    self._links[name] = member
                else:
                    self._members[name] = member

    def has(self, name: str) -> bool:
        """Whether a member has this name."""
        return self._followed(name) in self._members

    def place(self, name: str) -> int:
        """Where it stands."""
        return self._member(name).start

    @contextmanager
    def reading(self) -> Iterator[Callable[[str], Blob]]:
        """A function that opens a member, or the one that a link of this name leads to."""
        with _Reader(self._path) as reader:

            def open_blob(name: str) -> Blob:
                member = self._member(name)
                reader.seek(member.start)
                return Blob(_Part(reader, member.size), member.size)

            yield open_blob

    def _member(self, name: str) -> _Member:
        followed = self._followed(name)
        told = shown(name.encode("utf-8", "backslashreplace"))
        if followed in self._twice or name in self._twice:
            raise RefusedError(f"the archive has {told} twice")
        if followed not in self._members:
            raise RefusedError(f"the archive has no member {told}")
        return self._members[followed]

    def _followed(self, name: str) -> str:
        for _ in range(_MAX_HOPS):
            if name not in self._links:
                break
            name = self._links[name]
        return name


def _listed(reader: _Reader) -> Iterator[tuple[str, _Member | str]]:
    """Every member that is a file, and every link with what it leads to."""
    with Stream(reader, forward=reader.forward) as stream:
        entries = tar.Entries(stream)
        for count, entry in enumerate(entries):
            if count == MAX_MEMBERS:
                raise RefusedError(f"an archive with more than {MAX_MEMBERS} members")
            name = _clean(entry.name)
            if entry.kind == tar.LINK:
                yield name, _clean(entry.link)
            elif entry.kind == tar.SYMLINK:
                yield name, _clean(entry.name.rpartition(b"/")[0] + b"/" + entry.link)
            elif entry.kind != tar.FOLDER:
                yield name, _Member(stream.position, entries.data_bytes)


def _clean(name: bytes) -> str:
    return posixpath.normpath("/" + name.decode("utf-8", "backslashreplace")).lstrip("/")


class _Reader:
    """A file that is sought in; a compressed one is read from its start again to go back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._file = open_file(self._path)
        self._at = 0
        first = os.pread(self._file.fileno(), 4, 0)
        self.forward = None if is_compressed(first) else self._forward
        self._source = decompressed(self._file) if is_compressed(first) else self._file

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def readinto(self, buffer: memoryview, /) -> int:
        got = self._source.readinto(buffer) or 0
        self._at += got
        return got

    def seek(self, place: int) -> None:
        if place < self._at:
            self._file.close()
            self._begin()
        if self.forward:
            self.forward(place - self._at)
        else:
            skip(self, place - self._at)

    def _forward(self, size: int) -> None:
        self._at = self._file.seek(size, os.SEEK_CUR)


class _Part:
    """The next `size` bytes of a reader."""

    def __init__(self, reader: _Reader, size: int) -> None:
        self._reader = reader
        self._left = size

    def readinto(self, buffer: memoryview, /) -> int:
        if not self._left:
            return 0
        got = self._reader.readinto(buffer[: self._left])
        if not got:
            raise RefusedError("the archive ends inside of a member")
        self._left -= got
        return got
