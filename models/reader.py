"""A sealed file, read from a descriptor: header, geometry, tree and slots, each checked once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealserve.models import format as layout
from sealserve.models import slot_area, storage
from sealserve.models.format import Geometry, Header
from sealserve.models.sealed import SealedModel
from sealserve.models.slots import Slot
from sealserve.native import cobblestone, verity
from sealserve.native.errors import (
    FormatError,
    IntegrityError,
    SealserveError,
    UnavailableError,
)

Progress = Callable[[int, int], None]  # bytes done, bytes in all

_HINTS: dict[type[SealserveError], str] = {
    FormatError: "it was altered, or is no sealed model of this version; get it again",
    IntegrityError: "it was altered or damaged, or is another model; get it again",
}
_BLOCK_BYTES = 4 << 20  # read and hashed at a time; a multiple of the tree's pages


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file with a readable header that is long enough for it.

    front, message_header: bytes 0 … P-1 and the 56 behind them, read once and used ever after.
    """

    name: str
    fd: int
    size: int
    front: bytes
    message_header: bytes
    header: Header
    geometry: Geometry

    @property
    def header_sha256(self) -> bytes:
        """What the message and the slots are bound to."""
        return hashlib.sha256(self.front).digest()

    @property
    def context(self) -> bytes:
        """The Cobblestone context (SPEC section 2)."""
        return layout.CONTEXT + self.header_sha256

    def read(self, offset: int, size: int) -> bytes:
        """Exactly these bytes. Raises IntegrityError if the file ends before."""
        return read_exactly(self.fd, offset, size)

    def tree_area(self) -> bytes:
        """Superblock page and hash tree."""
        start = self.geometry.data_bytes
        return self.read(start, self.geometry.slots_offset - start)

    def slots(self) -> tuple[Slot, ...]:
        """The key slots, up to the end of the file. Raises FormatError, IntegrityError."""
        start = self.geometry.slots_offset
        slot_area.check_area_size(self.size - start)
        return slot_area.decode_area(self.read(start, self.size - start))

    def claimed_root(self, tree_area: bytes) -> bytes:
        """The root that the tree in the file leads to; nothing is compared with it."""
        return verity.root_of(tree_area, self.geometry.data_bytes)

    def trusted_tree(self, tree_area: bytes, root: bytes) -> verity.TrustedTree:
        """The tree under a root, found to cover the header as it was read.

        Raises IntegrityError; FormatError for another superblock or padding that is not zero.
        """
        self.claimed_root(tree_area)  # what this file says of its format is no matter of any root
        tree = verity.TrustedTree.load(tree_area, self.geometry.data_bytes, root)
        tree.check(0, self.front + self.message_header)
        tree.check(self.geometry.data_bytes - layout.PAGE_BYTES, self.last_page())
        return tree

    def checked_blocks(
        self, tree: verity.TrustedTree, progress: Progress | None
    ) -> Iterator[bytes]:
        """Everything before the tree, in order, once it matches. Raises IntegrityError."""
        total = self.geometry.data_bytes
        for offset in range(0, total, _BLOCK_BYTES):
            block = self.read(offset, min(_BLOCK_BYTES, total - offset))
            tree.check(offset, block)
            yield block
            if progress is not None:
                progress(offset + len(block), total)

    def last_page(self) -> bytes:
        """The page in which the message ends. Raises FormatError unless zeros follow it."""
        start = self.geometry.data_bytes - layout.PAGE_BYTES
        page = self.read(start, layout.PAGE_BYTES)
        layout.check_zero(page[self.geometry.payload_end - start :], "message")
        return page

    def describe(self, root: bytes, slots: tuple[Slot, ...]) -> SealedModel:
        """What there is to say about it."""
        front = (self.header, self.geometry, self.header_sha256)
        return SealedModel.of(self.name, *front, root, slots)


@contextmanager
def sealed_file(source: str | Path) -> Iterator[SealedFile]:
    """Open a path or URL and read its header.

    Raises ConfigError, UnavailableError if it cannot be had; FormatError, IntegrityError. Those
    two say whose fault they are, also when they are raised inside the `with` block.
    """
    name = storage.public_name(source)
    with storage.opened(source) as fd:
        try:
            yield _read(fd, name)
        except (FormatError, IntegrityError) as error:
            error.message = f"{name}: {error.message}"
            error.hint = error.hint or _HINTS.get(type(error), "")
            raise


def read_exactly(fd: int, offset: int, size: int) -> bytes:
    """`size` bytes from `offset`. Raises IntegrityError if the file ends before them."""
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        try:
            got = os.preadv(fd, [view[done:]], offset + done)
        except OSError as error:
            raise UnavailableError(f"cannot read byte {offset + done}: {error.strerror}") from error
        if not got:
            raise IntegrityError(
                f"the file is cut: it ends at byte {offset + done}; {offset + size} are needed",
                hint="copy or download it again",
            )
        done += got
    return bytes(data)


def _read(fd: int, name: str) -> SealedFile:
    size = os.fstat(fd).st_size
    prefix = read_exactly(fd, 0, min(size, layout.PREFIX_BYTES))
    payload_offset = layout.header_bytes(prefix)
    head = read_exactly(fd, 0, payload_offset + cobblestone.HEADER_BYTES)
    front, message_header = head[:payload_offset], head[payload_offset:]
    header = layout.decode_header(front)
    geometry = layout.geometry(payload_offset, header.payload_size)
    if size < geometry.slots_offset:
        raise IntegrityError(
            f"the file is cut: it has {size} bytes; header and tree take {geometry.slots_offset}",
            hint="copy or download it again",
        )
    return SealedFile(name, fd, size, front, message_header, header, geometry)
