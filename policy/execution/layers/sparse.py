"""Maps of sparse files: where in a file the bytes belong that its entry holds.

Four forms: GNU's old one in the header and blocks after it, PAX 0.0 and 0.1 in records, PAX 1.0 in
front of the data (GNU tar manual, "Storing Sparse Files"). Numbers of PAX are decimal, as tar
itself writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sealserve.native.tar import BLOCK_BYTES, read_number
from sealserve.policy.execution.layers.limits import MAX_EXTENSION_BYTES, MAX_FRAGMENTS
from sealserve.policy.execution.layers.pax import SPARSE_MAP, Records, integer
from sealserve.policy.execution.layers.refused import RefusedError

Fragments = Sequence[tuple[int, int]]  # offset and length of each run of bytes in the file

_VERSIONS_OF_RECORDS = ((b"0", b"0"), (b"0", b"1"))
_VERSION_IN_DATA = (b"1", b"0")

# GNU tar, struct oldgnu_header and sparse_header: pairs of 12 bytes, then whether more follow.
_PAIR_BYTES = 24
_OLD_REAL_SIZE = slice(483, 495)
_IN_HEADER = range(386, 386 + 4 * _PAIR_BYTES, _PAIR_BYTES)
_IN_EXTENSION = range(0, 21 * _PAIR_BYTES, _PAIR_BYTES)


def old_map(header: bytes, read: Callable[[int], bytes]) -> tuple[int, Fragments]:
    """Size of the file and its fragments; read: takes more blocks of the tar."""
    try:
        size = read_number(header[_OLD_REAL_SIZE])
        return size, checked([*_old_pairs(header, read)], size)
    except ValueError as error:
        raise RefusedError(f"a sparse file's map: {error}") from None


def _old_pairs(block: bytes, read: Callable[[int], bytes]) -> Iterator[tuple[int, int]]:
    places = _IN_HEADER
    for _ in range(MAX_EXTENSION_BYTES // (_IN_EXTENSION.stop + 1)):
        for at in places:
            if not block[at]:
                break
            yield read_number(block[at : at + 12]), read_number(block[at + 12 : at + 24])
        if not block[places.stop]:
            return
        block, places = read(BLOCK_BYTES), _IN_EXTENSION
    raise ValueError(f"more than {MAX_EXTENSION_BYTES} bytes of it")


def is_sparse(records: Records) -> bool:
    """Whether PAX records speak of a sparse file of a version we read; others are plain files."""
    version = _version(records)
    if version == (b"", b""):  # the first versions did not state themselves
        return bool(records.get(SPARSE_MAP))
    return version in (*_VERSIONS_OF_RECORDS, _VERSION_IN_DATA)


def pax_size(records: Records) -> int | None:
    """The size of the file, where records state it."""
    text = records.get(b"GNU.sparse.size") or records.get(b"GNU.sparse.realsize")
    return integer(text, "the size of a sparse file") if text else None


def pax_map(records: Records, read: Callable[[int], bytes]) -> Fragments:
    """The fragments of a sparse file. read: takes blocks from the front of the entry's data."""
    if _version(records) == _VERSION_IN_DATA:
        return _pairs(_numbers_in_data(read))
    count = _count(records.get(b"GNU.sparse.numblocks", b""))
    text = records.get(SPARSE_MAP, b"")
    numbers = text.split(b",") if text else []
    if len(numbers) != 2 * count:
        raise RefusedError(f"a sparse map of {len(numbers)} numbers; wanted {2 * count}")
    return _pairs(numbers)


def _version(records: Records) -> tuple[bytes, bytes]:
    return records.get(b"GNU.sparse.major", b""), records.get(b"GNU.sparse.minor", b"")


def _numbers_in_data(read: Callable[[int], bytes]) -> list[bytes]:
    """Lines: how many pairs, then the pairs. The block with the last of them ends the map."""
    text = _read_lines(b"", 1, read)
    count = _count(text.partition(b"\n")[0])
    text = _read_lines(text, 1 + 2 * count, read)
    return text.split(b"\n", 1 + 2 * count)[1 : 1 + 2 * count]


def _read_lines(text: bytes, lines: int, read: Callable[[int], bytes]) -> bytes:
    parts, found, size = [text], text.count(b"\n"), len(text)
    while found < lines:
        size += BLOCK_BYTES
        if size > MAX_EXTENSION_BYTES:
            raise RefusedError(f"a sparse map of more than {MAX_EXTENSION_BYTES} bytes")
        parts.append(read(BLOCK_BYTES))
        found += parts[-1].count(b"\n")
    return b"".join(parts)


def _count(text: bytes) -> int:
    count = integer(text, "the number of a sparse file's fragments")
    if not 0 <= count <= MAX_FRAGMENTS:
        raise RefusedError(f"{count} fragments of a sparse file; at most {MAX_FRAGMENTS} are read")
    return count


def _pairs(numbers: Sequence[bytes]) -> Fragments:
    values = [integer(number, "a place in a sparse file") for number in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def checked(fragments: Fragments, size: int) -> Fragments:
    """The same, if they lie one after the other inside the file."""
    end = 0
    for offset, length in fragments:
        if length < 0 or offset < end:
            raise RefusedError("a sparse file whose fragments overlap or are negative")
        end = offset + length
    if end > size:
        raise RefusedError(f"a sparse file of {size} bytes with a fragment that ends at {end}")
    return fragments
