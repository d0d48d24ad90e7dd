"""The entries of a layer's tar, as Go's archive/tar reads them, which the reference converter uses.

V7, ustar, PAX and GNU headers; long names and links; extended attributes; every sparse form. The
archive ends at two blocks of zeros or where the file ends; what stands behind is not looked at.
Two things that surprise: of several PAX headers in front of an entry the last alone counts, and a
global one changes nothing but is an entry itself, a file of its own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sealserve.native.tar import BLOCK_BYTES, Header
from sealserve.policy.execution.layers import pax, sparse
from sealserve.policy.execution.layers.limits import MAX_ENTRIES, MAX_EXTENSION_BYTES
from sealserve.policy.execution.layers.refused import RefusedError, refuse
from sealserve.policy.execution.layers.stream import Stream

# Types of entries (POSIX ustar; GNU tar manual).
OLD_FILE, FILE, LINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO = b"\x000123456"
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _SPARSE = b"xgLKS"
_EXTENSIONS = frozenset((_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK))
# What these say of a size does not mean that data follows.
_WITHOUT_DATA = frozenset((LINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO))


@dataclass
class _Pending:
    """What extensions say of the entry after them."""

    records: pax.Records = field(default_factory=dict)
    name: bytes = b""
    link: bytes = b""


class Entries:
    """Iterates over a tar. After each entry `fragments` and `data_bytes` tell of its content.

    fragments: None, or those of a sparse file of `header.size` bytes. Of the data, what nobody took
    from the stream is left out when the next entry is asked for. Raises RefusedError.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._seen = 0
        self._padding = 0
        self._pending: _Pending | None = None
        self.fragments: sparse.Fragments | None = None
        self.data_bytes = 0

    def __iter__(self) -> Iterator[Header]:
        while (header := self._next()) is not None:
            self._seen += 1
            if self._seen > MAX_ENTRIES:
                raise RefusedError(f"more than {MAX_ENTRIES} entries")
            if header.kind in _EXTENSIONS:
                if header.kind != _PAX_GLOBAL:
                    self._remember(header)
                    continue
                header = self._global(header)
            elif self._pending or header.kind in (OLD_FILE, _SPARSE):
                self._complete(header)
            yield header

    def _next(self) -> Header | None:
        if self.data_bytes:
            self._stream.skip(self.data_bytes)
        if self._padding and not self._stream.skip_padding(self._padding):
            return None
        header = self._stream.header()
        if header is not None:
            self._begin(header)
        return header

    def _begin(self, header: Header) -> None:
        """From here on the stream stands before the data of this entry."""
        self.fragments = None
        size = 0 if header.kind in _WITHOUT_DATA else header.size
        if size < 0:
            raise RefusedError(f"a size of {size} bytes")
        self.data_bytes, self._padding = size, -size % BLOCK_BYTES

    @property
    def at_hand(self) -> memoryview:
        """Entries that stand in the window, for whoever can lay them down together."""
        if self._padding:
            return self._stream.window[:0]
        return self._stream.at_hand

    def advance(self, size: int) -> None:
        """Pass over entries at hand, of so many bytes, that were laid down."""
        self._stream.advance(size)

    def take_whole(self) -> memoryview | None:
        """All of the entry's data, if it is at hand."""
        part = self._stream.take_whole(self.data_bytes, self._padding)
        if part is not None:
            self.data_bytes = self._padding = 0
        return part

    def take(self, most: int) -> memoryview:
        """The next bytes of the entry's data, at least one and at most this many."""
        part = self._stream.take(min(most, self.data_bytes))
        self.data_bytes -= len(part)
        return part

    def _read(self, size: int) -> bytes:
        if size > self.data_bytes:
            raise RefusedError("an entry ends inside of its sparse map")
        self.data_bytes -= size
        return self._stream.read(size)

    def _whole(self, header: Header) -> bytes:
        if self.data_bytes > MAX_EXTENSION_BYTES:
            raise refuse(header.name, f"an extension of more than {MAX_EXTENSION_BYTES} bytes")
        return self._read(self.data_bytes)

    def _remember(self, header: Header) -> None:
        self._pending = pending = self._pending or _Pending()
        text = self._whole(header)
        if header.kind == _PAX:
            pending.records = pax.parse(text)
        elif header.kind == _LONG_NAME:
            pending.name = text.partition(b"\0")[0]
        else:
            pending.link = text.partition(b"\0")[0]

    def _global(self, header: Header) -> Header:
        """An empty file without owner or time; what its records say of a name and attributes."""
        self._pending = None
        pax.apply(pax.parse(self._whole(header)), header)
        made = Header(name=header.name, kind=header.kind)
        made.attributes = header.attributes
        return made

    def _complete(self, header: Header) -> None:
        pending, self._pending = self._pending or _Pending(), None
        try:
            self._extend(header, pending)
        except RefusedError as error:
            raise refuse(header.name, str(error)) from None

    def _extend(self, header: Header, pending: _Pending) -> None:
        pax.apply(pending.records, header)
        header.name = pending.name or header.name
        header.link = pending.link or header.link
        if header.kind == OLD_FILE:
            header.kind = FOLDER if header.name.endswith(b"/") else FILE
        self._begin(header)
        if header.kind == _SPARSE:
            self._map_old(header)
        elif sparse.is_sparse(pending.records):
            self._map_pax(header, pending.records)

    def _map_old(self, header: Header) -> None:
        if not header.gnu:
            raise RefusedError("a sparse file of another tar than GNU's")
        header.size, self.fragments = sparse.old_map(self._stream.last_block(), self._stream.read)

    def _map_pax(self, header: Header, records: pax.Records) -> None:
        header.name = records.get(b"GNU.sparse.name") or header.name
        size = sparse.pax_size(records)
        header.size = header.size if size is None else size
        fragments = sparse.pax_map(records, self._read)
        if header.kind in _WITHOUT_DATA:
            raise RefusedError("sparse, and of a type that has no data")
        self.fragments = sparse.checked(fragments, header.size)
