"""Opens a sealed model: everything is verified before anybody gets anything (SPEC section 7)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypedDict

from sealserve.models import archive, names
from sealserve.models.archive import Placed
from sealserve.models.key import unlock
from sealserve.models.reader import Progress, SealedFile, sealed_file
from sealserve.models.sealed import SealedModel
from sealserve.models.slots import Opener
from sealserve.models.verify import read_root
from sealserve.native.checked import CheckedCopy
from sealserve.native.cobblestone import Message
from sealserve.native.errors import FormatError, UnavailableError
from sealserve.native.load import Destination, load
from sealserve.native.ranges import Ranges
from sealserve.native.secret import SecretBuffer
from sealserve.native.verity import TrustedTree


class Place(Protocol):
    """Where opened files go. What it makes is its own to close and to remove."""

    def wants(self, name: str) -> bool:
        """Whether this entry is kept; another one is verified and discarded."""
        ...

    def create(self, name: str, size: int) -> int:
        """A descriptor to write `size` bytes to. name: like `weights/00001`."""
        ...

    def finish(self) -> None:
        """Every file is complete and verified: nothing more is written."""
        ...

    def wipe(self) -> None:
        """Remove everything: nothing was verified. May be called more than once."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model in clear. Use it in a `with` block: the graph is wiped at the end.

    graph: model.onnx. files: the size of every other entry, by name; those it wants are in the
    place.
    """

    sealed: SealedModel
    graph: SecretBuffer
    files: dict[str, int]

    @property
    def weights(self) -> dict[str, int]:
        """The size of every entry that the graph's external tensors refer to, by name."""
        return {name: size for name, size in self.files.items() if name.startswith(names.WEIGHTS)}

    def close(self) -> None:
        """Wipe the graph. The place stays: its files may be in use."""
        self.graph.wipe()

    def __enter__(self) -> OpenedModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_model(
    path: str | Path,
    root: str | bytes | None,
    opener: Opener,
    place: Place,
    *,
    threads: int = 2,
    ahead: bool = False,
    progress: Progress | None = None,
) -> OpenedModel:
    """Verify and decrypt a sealed model into `place`.

    root: 32 bytes or 64 hexadecimal digits, from outside. None takes the file's own, which
    verifies nothing but consistency: for `unseal` by somebody who trusts their copy.
    ahead: read and verify while `opener` gets the key, into up to as much memory as the file has
    bytes. For a place that is memory: it never takes more than what is opened will.
    Raises FormatError, IntegrityError, what `opener` raises, ConfigError and UnavailableError if
    the file cannot be had or the place cannot be filled. Then the place is wiped.
    """
    wanted = None if root is None else read_root(root)
    with sealed_file(path) as file:
        tree_area = file.tree_area()
        wanted = wanted or file.claimed_root(tree_area)
        tree = file.trusted_tree(tree_area, wanted)
        slots = file.slots()
        with _ahead(file, tree, threads) if ahead else nullcontext() as checked:
            key, message = unlock(file, wanted, slots, opener)
            with message:
                key.wipe()
                opened = _opened(file, tree, message, place, threads, checked, progress)
        sealed = file.describe(wanted, slots)
    return OpenedModel(sealed, *opened)


def _ahead(file: SealedFile, tree: TrustedTree, threads: int) -> CheckedCopy:
    return CheckedCopy(file.fd, **_layout(file), tree=tree, threads=threads)


def _opened(
    file: SealedFile,
    tree: TrustedTree,
    message: Message,
    place: Place,
    threads: int,
    checked: CheckedCopy | None,
    progress: Progress | None,
) -> tuple[SecretBuffer, dict[str, int]]:
    """The graph, and the size of every other entry by name; all there is in the place."""
    entries = _entries(file, tree, message)
    # Forked workers make their sessions of it; keys and what else is opened stay here.
    graph = SecretBuffer(entries[0].entry.size, inherited=True)
    try:
        targets = _Destinations(entries, graph, place)
        load(
            file.fd,
            **_layout(file),
            tree=tree,
            message=message,
            destinations=targets.all,
            threads=threads,
            progress=progress,
            checked=checked,
        )
        targets.check_frame()
        place.finish()
    except BaseException as error:
        graph.wipe()
        place.wipe()
        if isinstance(error, OSError):
            raise _no_room(file, error) from error
        raise
    return graph, {item.entry.name: item.entry.size for item in entries[1:]}


def _entries(file: SealedFile, tree: TrustedTree, message: Message) -> tuple[Placed, ...]:
    """What the archive holds, from its end and directory alone."""
    size = file.geometry.plain_size
    if size < archive.END_BYTES:
        raise FormatError(f"archive of {size} bytes; its end alone takes {archive.END_BYTES}")
    try:
        plain = Ranges(file.fd, **_layout(file), tree=tree, message=message)
        tail = _plaintext(plain, size - archive.END_BYTES, archive.END_BYTES)
        end = archive.decode_end(tail, size)
        records = _plaintext(plain, end.directory_offset, end.directory_bytes)
    except OSError as error:
        raise UnavailableError(f"{file.name} cannot be read: {error.strerror}") from error
    return archive.decode_directory(records, end)


def _plaintext(plain: Ranges, start: int, size: int) -> bytes:
    read = bytearray(size)
    plain.read_into(start, read)
    return bytes(read)


class _Layout(TypedDict):
    """Where the payload is, as the native core is told."""

    payload_offset: int
    payload_bytes: int
    data_bytes: int


def _layout(file: SealedFile) -> _Layout:
    return {
        "payload_offset": file.geometry.payload_offset,
        "payload_bytes": file.geometry.payload_size,
        "data_bytes": file.geometry.data_bytes,
    }


class _Destinations:
    """Where each byte of the archive goes: entries to their files, the frame between to memory."""

    def __init__(self, entries: Sequence[Placed], graph: SecretBuffer, place: Place) -> None:
        frame = [(item.start, archive.local_header(item)) for item in entries]
        frame.append((entries[-1].end, archive.directory(entries)))
        self._wanted = b"".join(part for _, part in frame)
        self._frame = SecretBuffer(len(self._wanted))
        self.all = [*_frame_parts(frame, self._frame), *_entry_parts(entries, graph, place)]

    def check_frame(self) -> None:
        """Raise FormatError unless what lay between the entries is what has to."""
        with self._frame as seen:
            if not seen.equals(self._wanted):
                raise FormatError("an entry's local header is not the one of the directory")


def _frame_parts(frame: Sequence[tuple[int, bytes]], buffer: SecretBuffer) -> list[Destination]:
    parts, offset = [], 0
    for start, part in frame:
        parts.append(Destination(start, len(part), buffer=buffer, offset=offset))
        offset += len(part)
    return parts


def _entry_parts(entries: Sequence[Placed], graph: SecretBuffer, place: Place) -> list[Destination]:
    first, *others = entries
    parts = [Destination(first.data, first.entry.size, buffer=graph)]
    for item in others:
        if not place.wants(item.entry.name):
            continue
        fd = place.create(item.entry.name, item.entry.size)
        parts.append(Destination(item.data, item.entry.size, fd=fd))
    return parts


def _no_room(file: SealedFile, error: OSError) -> UnavailableError:
    hints = {
        errno.EMFILE: "each entry is a file held open while loading: raise `ulimit -n`",
        errno.ENOSPC: "the opened model is as large as the sealed one: make room",
    }
    return UnavailableError(
        f"cannot open {file.name}: {error.strerror}", hint=hints.get(error.errno or 0, "")
    )
