"""Records of PAX headers, and what they change (POSIX.1-2001 pax, as Go reads them)."""

from __future__ import annotations

import re

from sealserve.native.tar import Header
from sealserve.policy.execution.layers.refused import RefusedError

Records = dict[bytes, bytes]

_INTEGER = re.compile(rb"[+-]?[0-9]+")
_FRACTION = re.compile(rb"[0-9]*")
_TEXTS = (b"path", b"linkpath", b"uname", b"gname")
_ATTRIBUTE = b"SCHILY.xattr."
_SPARSE_PAIR = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
SPARSE_MAP = b"GNU.sparse.map"
_MIN, _MAX = -(1 << 63), (1 << 63) - 1


def parse(data: bytes) -> Records:
    """The records of one header; of equal keys the last counts.

    The map of GNU's sparse format 0.0 comes as pairs of records; it is joined into that of 0.1.
    """
    records: Records = {}
    pairs: list[bytes] = []
    at = 0
    while at < len(data):
        key, value, at = _record(data, at)
        if key not in _SPARSE_PAIR:
            records[key] = value
        elif key != _SPARSE_PAIR[len(pairs) % 2] or b"," in value:
            raise RefusedError("a PAX header whose sparse map is out of order")
        else:
            pairs.append(value)
    if pairs:
        records[SPARSE_MAP] = b",".join(pairs)
    return records


def _record(data: bytes, at: int) -> tuple[bytes, bytes, int]:
    """`LENGTH KEY=VALUE\\n`; the length counts itself and the line feed."""
    space = data.find(b" ", at)
    size = integer(data[at:space], "a PAX record's length") if space > 0 else 0
    end = at + size
    if size < 5 or end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n":
        raise RefusedError("a PAX record without its length, or longer than its header")
    key, equals, value = data[space + 1 : end - 1].partition(b"=")
    if not (key and equals):
        raise RefusedError("a PAX record without a key")
    if b"\0" in (value if key in _TEXTS else key):
        raise RefusedError("a PAX record with a NUL in a name")
    return key, value, end


def apply(records: Records, header: Header) -> None:
    """Put what records say in place of what the header says; an empty value says nothing."""
    for key, value in records.items():
        if value and key in _FIELDS:
            _FIELDS[key](header, value)
    attributes = {
        key.removeprefix(_ATTRIBUTE): value
        for key, value in records.items()
        if key.startswith(_ATTRIBUTE)
    }
    header.attributes = attributes or None


def integer(text: bytes, what: str) -> int:
    """A decimal number of 64 bits."""
    if not (_INTEGER.fullmatch(text) and len(text.lstrip(b"+-0")) < 20 and _fits(int(text))):
        raise RefusedError(f"{what} is not a number of 64 bits")
    return int(text)


def _fits(value: int) -> bool:
    return _MIN <= value <= _MAX


def _moment(text: bytes, what: str) -> tuple[int, int]:
    """Seconds rounded down, and nanoseconds; digits beyond those are dropped."""
    whole, _, fraction = text.partition(b".")
    seconds = integer(whole, what)
    if not _FRACTION.fullmatch(fraction):
        raise RefusedError(f"{what} is not a time")
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    if whole.startswith(b"-") and nanoseconds:
        # Below the lowest second Go's arithmetic goes on at the highest.
        return seconds - 1 if seconds > _MIN else _MAX, 10**9 - nanoseconds
    return seconds, nanoseconds


def _path(header: Header, value: bytes) -> None:
    header.name = value


def _link_path(header: Header, value: bytes) -> None:
    header.link = value


def _uid(header: Header, value: bytes) -> None:
    header.uid = integer(value, "uid")


def _gid(header: Header, value: bytes) -> None:
    header.gid = integer(value, "gid")


def _size(header: Header, value: bytes) -> None:
    header.size = integer(value, "size")


def _modified(header: Header, value: bytes) -> None:
    header.modified, header.modified_ns = _moment(value, "mtime")


def _accessed(header: Header, value: bytes) -> None:
    header.accessed, header.accessed_ns = _moment(value, "atime")


def _changed(header: Header, value: bytes) -> None:
    header.changed, header.changed_ns = _moment(value, "ctime")


_FIELDS = {
    b"path": _path,
    b"linkpath": _link_path,
    b"uid": _uid,
    b"gid": _gid,
    b"size": _size,
    b"mtime": _modified,
    b"atime": _accessed,
    b"ctime": _changed,
}
