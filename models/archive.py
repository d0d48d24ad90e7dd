"""The archive inside a sealed model (SPEC section 6): a ZIP file with one possible encoding.

Everything but the data follows from the list of entries, so a reader takes that list from the
central directory, encodes the archive's frame again and compares. No offset, overlap, method or
size in a file is ever followed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sealserve.models import names
from sealserve.models.format import PAGE_BYTES
from sealserve.native.errors import FormatError

# PKWARE APPNOTE 6.3.10: 4.3.7, 4.3.12, 4.3.14, 4.3.15, 4.3.16 and 4.5.3.
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_LOCAL_ZIP64 = struct.Struct("<HHQQ")
_CENTRAL_ZIP64 = struct.Struct("<HHQQQ")
_ALIGNMENT = struct.Struct("<HHH")
_END64 = struct.Struct("<IQHHIIQQQQ")
_LOCATOR = struct.Struct("<IIQI")
_END = struct.Struct("<IHHHHIIH")

_UNIX_45, _NEEDS_45 = 0x032D, 45  # made on Unix; 4.5 is the first version with ZIP64
_TIME, _DATE = 0, 0x0021  # 1980-01-01 00:00:00, the earliest there is
_IN_ZIP64 = 0xFFFFFFFF  # "the value stands in the ZIP64 field"
_REGULAR_0600 = 0o100600 << 16
_ALIGNMENT_ID = 0xD935  # Android zipalign: the alignment, then zeros

END_BYTES = _END64.size + _LOCATOR.size + _END.size
_RECORD_BYTES = _CENTRAL.size + _CENTRAL_ZIP64.size  # a directory record without its name


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in the archive. size: bytes, stored as they are."""

    name: str
    size: int
    crc32: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an entry stands in the plaintext: local header from `start`, data from `data`."""

    entry: Entry
    start: int
    data: int

    @property
    def end(self) -> int:
        """The first byte behind the data."""
        return self.data + self.entry.size


@dataclass(frozen=True, slots=True)
class End:
    """What the end records say, already found consistent with the archive's size."""

    count: int
    directory_offset: int
    directory_bytes: int


def place(entries: Sequence[Entry]) -> tuple[Placed, ...]:
    """Where each entry goes."""
    placed: list[Placed] = []
    start = 0
    for entry in entries:
        data = start + _header_bytes(entry, start)
        placed.append(Placed(entry, start, data))
        start = data + entry.size
    return tuple(placed)


def size(entries: Sequence[Entry]) -> int:
    """Bytes of the whole archive."""
    records = sum(_RECORD_BYTES + len(entry.name) for entry in entries)
    return _directory_offset(place(entries)) + records + END_BYTES


def local_header(placed: Placed) -> bytes:
    """Everything between the entry before and this entry's data."""
    entry, name = placed.entry, placed.entry.name.encode()
    padding = placed.data - placed.start - _least_header_bytes(entry)
    extra = _LOCAL_ZIP64.size + _ALIGNMENT.size + padding
    return b"".join(
        (
            _LOCAL.pack(0x04034B50, *_common(entry), len(name), extra),
            name,
            _LOCAL_ZIP64.pack(1, 16, entry.size, entry.size),
            _ALIGNMENT.pack(_ALIGNMENT_ID, 2 + padding, PAGE_BYTES),
            bytes(padding),
        )
    )


def directory(placed: Sequence[Placed]) -> bytes:
    """Everything behind the last entry's data: central directory and end records."""
    records = b"".join(map(_record, placed))
    return records + _encode_end(End(len(placed), _directory_offset(placed), len(records)))


def decode_end(end: bytes, archive_bytes: int) -> End:
    """Read the last END_BYTES of an archive of `archive_bytes`. Raises FormatError."""
    if len(end) != END_BYTES or archive_bytes < END_BYTES:
        raise FormatError(
            f"archive of {archive_bytes} bytes; its end records alone take {END_BYTES}"
        )
    _, _, _, _, _, _, count, _, directory_bytes, offset = _END64.unpack(end[: _END64.size])
    found = End(count, offset, directory_bytes)
    if offset + directory_bytes + END_BYTES != archive_bytes or _encode_end(found) != end:
        raise FormatError(
            f"the archive's end records are not those of an archive of {archive_bytes} bytes",
            hint="they hold a comment, another size or offset, or something stands behind them",
        )
    if count > names.MAX_ENTRIES:
        raise FormatError(f"archive of {count} entries; at most {names.MAX_ENTRIES} are allowed")
    if directory_bytes > count * (_RECORD_BYTES + names.MAX_NAME_BYTES):
        raise FormatError(f"archive directory of {directory_bytes} bytes for {count} entries")
    return found


def decode_directory(records: bytes, end: End) -> tuple[Placed, ...]:
    """Read the central directory. Raises FormatError unless it is the one of its entries."""
    entries: list[Entry] = []
    position = 0
    for number in range(end.count):
        entry, position = _decode_record(records, position, number)
        if entry.size > end.directory_offset:
            raise FormatError(
                f"archive entry {entry.name!r} has {entry.size} bytes; there are"
                f" {end.directory_offset} for all of them"
            )
        entries.append(entry)
    if position != len(records):
        raise FormatError(f"{len(records) - position} bytes behind the archive's directory")
    names.check([(entry.name, entry.size) for entry in entries])
    placed = place(entries)
    _compare_records(records, placed)
    if _directory_offset(placed) != end.directory_offset:
        raise FormatError(
            f"the archive's directory begins at {end.directory_offset};"
            f" its entries end at {_directory_offset(placed)}"
        )
    return placed


def _decode_record(records: bytes, position: int, number: int) -> tuple[Entry, int]:
    """Name, CRC and size of one record; everything else is compared later."""
    middle = position + _CENTRAL.size
    if middle > len(records):
        raise FormatError(f"the archive's directory is cut in entry {number}")
    fields = _CENTRAL.unpack(records[position:middle])
    crc32, name_bytes = fields[7], fields[10]
    stop = middle + name_bytes + _CENTRAL_ZIP64.size
    if name_bytes > names.MAX_NAME_BYTES or stop > len(records):
        raise FormatError(f"archive entry {number} has a name of {name_bytes} bytes")
    name = names.decode(records[middle : middle + name_bytes])
    _, _, entry_bytes, _, _ = _CENTRAL_ZIP64.unpack(records[middle + name_bytes : stop])
    return Entry(name, entry_bytes, crc32), stop


def _compare_records(records: bytes, placed: Sequence[Placed]) -> None:
    position = 0
    for item in placed:
        wanted = _record(item)
        if records[position : position + len(wanted)] != wanted:
            raise FormatError(
                f"archive entry {item.entry.name!r} is not in the one form allowed: stored, plain,"
                f" ZIP64, {item.entry.size} bytes from {item.start}"
            )
        position += len(wanted)


def _record(placed: Placed) -> bytes:
    entry, name = placed.entry, placed.entry.name.encode()
    lengths = (len(name), _CENTRAL_ZIP64.size, 0)
    fixed = _CENTRAL.pack(
        0x02014B50, _UNIX_45, *_common(entry), *lengths, 0, 0, _REGULAR_0600, _IN_ZIP64
    )
    return fixed + name + _CENTRAL_ZIP64.pack(1, 24, entry.size, entry.size, placed.start)


def _common(entry: Entry) -> tuple[int, ...]:
    """Version needed, flags, method (stored), time, date, CRC-32, both sizes."""
    return (_NEEDS_45, 0, 0, _TIME, _DATE, entry.crc32, _IN_ZIP64, _IN_ZIP64)


def _encode_end(end: End) -> bytes:
    span = (end.count, end.count, end.directory_bytes, end.directory_offset)
    end64 = _END64.pack(0x06064B50, 44, _UNIX_45, _NEEDS_45, 0, 0, *span)
    locator = _LOCATOR.pack(0x07064B50, 0, end.directory_offset + end.directory_bytes, 1)
    return end64 + locator + _END.pack(0x06054B50, 0, 0, 0xFFFF, 0xFFFF, _IN_ZIP64, _IN_ZIP64, 0)


def _directory_offset(placed: Sequence[Placed]) -> int:
    return placed[-1].end if placed else 0


def _header_bytes(entry: Entry, start: int) -> int:
    least = _least_header_bytes(entry)
    return least + -(start + least) % PAGE_BYTES


def _least_header_bytes(entry: Entry) -> int:
    return _LOCAL.size + len(entry.name) + _LOCAL_ZIP64.size + _ALIGNMENT.size
