"""The images in a store of podman, buildah and skopeo, read where they lie.

A store keeps a layer unpacked, and beside it what else was in its tar: headers and padding, in the
order they came, with gaps for the content of files (containers/storage, drivers overlay and vfs;
vbatts/tar-split, tar/storage). Put together again it is the tar, or its digest says that it is not.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sealserve.policy.execution.images import config
from sealserve.policy.execution.images.config import Config, Object
from sealserve.policy.execution.images.files import MAX_DOCUMENT_BYTES, Blob
from sealserve.policy.execution.images.found import Contents, Described
from sealserve.policy.execution.images.sources import open_file, read
from sealserve.policy.execution.layers.limits import MIB
from sealserve.policy.execution.layers.refused import RefusedError, shown

# Where a driver keeps a layer's files, under the store.
_FOLDERS = {"overlay": "overlay/{}/diff", "vfs": "vfs/dir/{}"}
_MAX_LIST_BYTES = 64 * MIB  # of all images, or all layers, of a store
_MAX_LINE_BYTES = 4 * MIB  # a PAX header of a megabyte, in base64
_CONTENT, _SEGMENT = 1, 2


@dataclass(frozen=True)
class Store:
    """Files of a store: a layer by its id. driver: which keeps them."""

    path: Path
    driver: str
    layers: dict[str, Object] = field(default_factory=dict)

    @classmethod
    def at(cls, path: Path) -> Store | None:
        """The store at a path; None if there is none. Raises RefusedError if it is unreadable."""
        for driver in _FOLDERS:
            if (path / f"{driver}-images" / "images.json").is_file():
                return cls(path, driver, _by_id(path / f"{driver}-layers" / "layers.json"))
        return None

    def described(self) -> list[Described]:
        """Its images."""
        images = self.path / f"{self.driver}-images"
        return [
            Described(
                config.strings(image, "names"),
                partial(self._load, images, image),
                (config.text(image, "digest"),),
            )
            for image in _by_id(images / "images.json").values()
        ]

    def has(self, name: str) -> bool:
        """Whether there is such a layer."""
        return name in self.layers

    def place(self, name: str) -> int:
        """All are equally near."""
        return 0

    @contextmanager
    def reading(self) -> Iterator[Callable[[str], Blob]]:
        """A function that opens the tar of a layer."""
        with ExitStack() as opened:
            yield partial(self._open, opened)

    def _load(self, images: Path, image: Object) -> Contents:
        digest = f"sha256:{config.text(image, 'id')}"
        config.sha256_of(digest)
        # A key with a colon is no name of a file: containers/storage, makeBigDataBaseName.
        name = "=" + base64.b64encode(digest.encode()).decode()
        data = _document(images / digest.removeprefix("sha256:") / name, MAX_DOCUMENT_BYTES)
        return Contents(Config.parse(data), self._down_from(config.text(image, "layer")))

    def _down_from(self, top: str) -> tuple[str, ...]:
        """Ids from the base to this layer."""
        ids: list[str] = []
        while top:
            if top not in self.layers or len(ids) == config.MAX_LAYERS:
                raise RefusedError(f"the store has no layer {shown(top.encode())}, or no end of it")
            ids.append(top)
            top = config.text(self.layers[top], "parent")
        return tuple(reversed(ids))

    def _open(self, opened: ExitStack, layer: str) -> Blob:
        split = self.path / f"{self.driver}-layers" / f"{layer}.tar-split.gz"
        if not split.is_file():
            raise RefusedError(
                f"the store does not keep the tar of layer {layer}",
                "`podman save` the image, and give what that writes",
            )
        lines = opened.enter_context(gzip.GzipFile(fileobj=opened.enter_context(open_file(split))))
        folder = self.path / _FOLDERS[self.driver].format(layer)
        at = opened.enter_context(_opened_folder(folder))
        size = config.get(self.layers[layer], "diff-size", int, 0)
        return Blob(_Joined(_pieces(lines, at)), size)


def _by_id(path: Path) -> dict[str, Object]:
    """A list of objects, by their ids, which are names of files and have no slash."""
    listed = config.parse(_document(path, _MAX_LIST_BYTES), path.name)
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise RefusedError(f"{path.name} is not a list of objects")
    found = {config.text(each, "id"): each for each in listed}
    for name in found:
        if not name.isalnum():
            raise RefusedError(f"{path.name} has the id {shown(name.encode())}")
    return found


def _document(path: Path, limit: int) -> bytes:
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise RefusedError(f"{path.name} has {size} bytes; at most {limit} are read")
        return read(file, size)


class _Joined:
    """Pieces, one after the other."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        """As `io.RawIOBase.readinto`."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def _pieces(lines: gzip.GzipFile, folder: int) -> Iterator[bytes]:
    """The bytes of a tar, none of them empty, as its record says where they are."""
    while line := _line(lines):
        record = config.parse_object(line, "the record of a layer's tar")
        kind = config.get(record, "type", int, 0)
        if kind == _SEGMENT:
            yield from filter(None, [_base64(config.text(record, "payload"))])
        elif kind == _CONTENT and (size := config.get(record, "size", int, 0)) > 0:
            yield from _content(folder, _name(record), size)


def _line(lines: gzip.GzipFile) -> bytes:
    try:
        line = lines.readline(_MAX_LINE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise RefusedError(f"the record of a layer's tar is broken: {error}") from None
    if len(line) == _MAX_LINE_BYTES:
        raise RefusedError("the record of a layer's tar has a line of megabytes")
    return line


def _name(record: Object) -> bytes:
    raw = config.text(record, "name_raw")
    return _base64(raw) if raw else config.text(record, "name").encode("utf-8", "surrogateescape")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError("the record of a layer's tar is not base64") from None


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    try:
        folder = os.open(path, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be read: {error.strerror}", "of a rootless store: `podman unshare`"
        ) from None
    try:
        yield folder
    finally:
        os.close(folder)


def _content(folder: int, name: bytes, size: int) -> Iterator[bytes]:
    """A file of a layer, exactly `size` bytes or a refusal."""
    with os.fdopen(_beneath(folder, name), "rb", buffering=0) as file:
        while size:
            part = file.read(min(size, MIB))
            if not part:
                raise RefusedError(f"{shown(name)} in the store is shorter than it was")
            size -= len(part)
            yield part


def _beneath(folder: int, name: bytes) -> int:
    """The file of this name; no link on the way is followed, a layer's lead where they like."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if not parts or b".." in parts:
        raise RefusedError(f"{shown(name)} is no name of a file in a layer")
    with ExitStack() as opened:
        for part in parts[:-1]:
            folder = _step(folder, part, os.O_PATH | os.O_DIRECTORY, name)
            opened.callback(os.close, folder)
        file = _step(folder, parts[-1], os.O_RDONLY | os.O_NONBLOCK, name)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise RefusedError(f"{shown(name)} in the store is not a regular file")
    return file


def _step(folder: int, part: bytes, flags: int, name: bytes) -> int:
    try:
        return os.open(part, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except (OSError, ValueError) as error:
        raise RefusedError(f"{shown(name)} in the store cannot be read: {error}") from None
