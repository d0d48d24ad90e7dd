"""One header of a tar archive, and the path in it, as Go's archive/tar and path read them.

A layer has as many headers as files, so they are read here. What is made of them, and every
extension that stands in entries of its own, belongs to whoever reads archives
(POSIX.1-1988 ustar; GNU tar manual, "Basic Tar Format"; star(5)).
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp

from sealserve.native.views cimport View, readable

cdef enum:
    BLOCK = 512

BLOCK_BYTES = BLOCK
# The second that Go's zero time stands for: January 1 of the year 1. It means "no time".
NO_TIME = -62135596800


cdef class Header:
    """What one header says; the same fields, changed, say what an entry is in the end.

    kind: the character of its type. modified, accessed, changed: seconds since 1970, and the
    nanoseconds after them; NO_TIME where none is given. attributes: None, or extended attributes by
    name, both bytes. gnu: whether the rest of the header is GNU's.
    """

    def __init__(self, *, name=b"", kind=0, mode=0):
        self.name, self.link = name, b""
        self.kind, self.mode = kind, mode
        self.modified = self.accessed = self.changed = NO_TIME


def read_header(data, offset):
    """The header at this offset; None for a block of zeros.

    Raises ValueError for fewer than 512 bytes, a checksum that is not that of the block, and
    numbers that are none.
    """
    cdef View source = readable(data)
    cdef Py_ssize_t at = offset
    if at < 0 or at > source.size - BLOCK:
        raise ValueError(f"{source.size} bytes hold no header at {offset}")
    return header_of(source.data + at)


cdef Header header_of(const uint8_t* block):
    if block[0] == 0 and _zero(block):
        return None
    _check_sum(block)
    return _read(block)


def read_number(field):
    """The number in a field of at most 12 bytes. Raises ValueError for what is none."""
    cdef View source = readable(field)
    if not 0 < source.size <= 12:
        raise ValueError(f"a field of {source.size} bytes; 1 to 12 hold a number")
    return _number(source.data, source.size)


cdef Header _read(const uint8_t* block):
    cdef Header header = Header.__new__(Header)
    header.name = _text(block, 100)
    header.mode = _number(block + 100, 8)
    header.uid = _number(block + 108, 8)
    header.gid = _number(block + 116, 8)
    header.size = _number(block + 124, 12)
    header.modified = _number(block + 136, 12)
    header.kind = block[156]
    header.link = _text(block + 157, 100)
    header.accessed = header.changed = NO_TIME
    if memcmp(block + 257, b"ustar", 5) == 0:
        _read_extended(header, block)
    return header


cdef int _read_extended(Header header, const uint8_t* block) except -1:
    """What the forms after V7 have: devices, a prefix of the name or two more times."""
    cdef bint posix = block[262] == 0
    header.gnu = memcmp(block + 262, b"  \0", 3) == 0
    if not (posix or header.gnu):
        return 0
    header.device_major = _number(block + 329, 8)
    header.device_minor = _number(block + 337, 8)
    if header.gnu:
        _read_gnu_times(header, block)
    elif memcmp(block + 508, b"tar\0", 4) == 0:
        _prefix(header, _text(block + 345, 131))
        header.accessed = _number(block + 476, 12)
        header.changed = _number(block + 488, 12)
    else:
        _prefix(header, _text(block + 345, 155))
    return 0


cdef int _read_gnu_times(Header header, const uint8_t* block) except -1:
    """Both times, where there are any.

    Old writers put ustar's prefix there. So what is no time is a prefix, if it is plain text, and
    otherwise nothing (golang/go#12594).
    """
    cdef bytes prefix
    try:
        if block[345]:
            header.accessed = _number(block + 345, 12)
        if block[357]:
            header.changed = _number(block + 357, 12)
    except ValueError:
        header.accessed = header.changed = NO_TIME
        prefix = _text(block + 345, 155)
        if prefix.isascii():
            _prefix(header, prefix)
    return 0


cdef int _prefix(Header header, bytes prefix) except -1:
    if prefix:
        header.name = prefix + b"/" + header.name
    return 0


cdef bint _zero(const uint8_t* block) noexcept:
    cdef int i
    cdef uint8_t seen = 0
    for i in range(BLOCK):
        seen |= block[i]
    return seen == 0


cdef int _check_sum(const uint8_t* block) except -1:
    """The sum of all bytes, its own field taken as blanks; some writers count signed ones."""
    cdef int64_t wanted = _octal(block + 148, 8)
    cdef int i
    cdef int total = 8 * 32, high = 0
    for i in range(BLOCK):
        total += block[i]
        high += block[i] >> 7
    for i in range(148, 156):
        total -= block[i]
        high -= block[i] >> 7
    if wanted != total and wanted != total - 256 * high:
        raise ValueError(f"the header's checksum is {wanted}; its bytes add up to {total}")
    return 0


cdef bytes _text(const uint8_t* field, Py_ssize_t size):
    """Up to the first NUL."""
    cdef const uint8_t* end = <const uint8_t*> memchr(field, 0, size)
    return (<const char*> field)[: end - field if end != NULL else size]


cdef int64_t _number(const uint8_t* field, Py_ssize_t size) except? -1:
    """Octal digits, or with the first bit set two's complement, high byte first."""
    if not field[0] & 0x80:
        return _octal(field, size)
    cdef uint8_t inverted = 0xFF if field[0] & 0x40 else 0
    cdef uint64_t value = (field[0] ^ inverted) & 0x7F
    cdef Py_ssize_t i
    for i in range(1, size):
        if value >> 56:
            raise ValueError("a number of the header has more than 64 bits")
        value = value << 8 | (field[i] ^ inverted)
    if value >> 63:
        raise ValueError("a number of the header has more than 64 bits")
    return ~(<int64_t> value) if inverted else <int64_t> value


cdef int64_t _octal(const uint8_t* field, Py_ssize_t size) except? -1:
    """Blanks and NULs around the digits are no part of them; without digits, 0."""
    cdef Py_ssize_t first = 0, i
    cdef int64_t value = 0
    while first < size and (field[first] == 32 or field[first] == 0):
        first += 1
    while size > first and (field[size - 1] == 32 or field[size - 1] == 0):
        size -= 1
    for i in range(first, size):
        if field[i] == 0:
            break
        if not 48 <= field[i] <= 55:
            raise ValueError(f"a number of the header has the byte 0x{field[i]:02x} in it")
        value = value << 3 | (field[i] - 48)
    return value


def split_path(bytes path not None):
    """The folder of a path and the name in it, both empty for the root, without a first slash.

    `.`, `..` and repeated slashes are resolved; nothing leads out of the root.
    """
    cdef const char* text = path
    cdef Py_ssize_t start = 0, end = len(path), at, slash
    while start < end and text[start] == b"/":
        start += 1
    while start + 1 < end and text[start] == b"." and text[start + 1] == b"/":
        start += 2
    if end > start and text[end - 1] == b"/":
        end -= 1
    slash = start - 1
    for at in range(start, end + 1):
        if at == end or text[at] == b"/":
            if _needs_resolving(text + slash + 1, at - slash - 1):
                return _resolved(path)
            if at < end:
                slash = at
    if slash < start:
        return b"", path[start:end]
    return path[start:slash], path[slash + 1 : end]


cdef bint _needs_resolving(const char* part, Py_ssize_t size) noexcept:
    if size == 0:
        return True
    return part[0] == b"." and (size == 1 or (size == 2 and part[1] == b"."))


cdef tuple _resolved(bytes path):
    cdef list parts = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts[:-1]), b"".join(parts[-1:])
