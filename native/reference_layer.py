"""The plain twins of `tar` and `ext4`: the same answers, made of struct and slices.

`layer_run` has its twin in policy: every file it lays down would be laid down the same without it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sealserve.native.tar import NO_TIME, Header

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BLOCK, _INODE, _AREA = 4096, 256, 60
_TYPES = {0o04: 2, 0o10: 1, 0o12: 7, 0o02: 3, 0o06: 4, 0o01: 5, 0o14: 6}
_INODE_HEAD = struct.Struct("<HHIIIIIHHIII60sIIII")
_INODE_TAIL = struct.Struct("<HHHHHHHHIIIII")
_FLAGS = 0x40000 | 0x80000


def read_header(data: Buffer, offset: int) -> Header | None:
    """The header at this offset; None for a block of zeros."""
    block = bytes(memoryview(data).cast("B")[offset : offset + 512]) if offset >= 0 else b""
    if len(block) < 512:
        raise ValueError("no header")
    if not any(block):
        return None
    plain = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 * (byte > 127) for byte in plain)
    if _octal(block[148:156]) not in (sum(plain), signed):
        raise ValueError("checksum")
    header = Header(name=_text(block[:100]), kind=block[156])
    header.mode, header.uid, header.gid = (
        read_number(block[at : at + 8]) for at in (100, 108, 116)
    )
    header.size, header.modified = read_number(block[124:136]), read_number(block[136:148])
    header.link = _text(block[157:257])
    if block[257:263] == b"ustar\0":
        _read_posix(header, block)
    elif block[257:265] == b"ustar  \0":
        _read_gnu(header, block)
    return header


def _read_posix(header: Header, block: bytes) -> None:
    _read_devices(header, block)
    if block[508:] == b"tar\0":
        header.accessed, header.changed = read_number(block[476:488]), read_number(block[488:500])
        _prefix(header, _text(block[345:476]))
    else:
        _prefix(header, _text(block[345:500]))


def _read_gnu(header: Header, block: bytes) -> None:
    header.gnu = True
    _read_devices(header, block)
    try:
        accessed = read_number(block[345:357]) if block[345] else NO_TIME
        changed = read_number(block[357:369]) if block[357] else NO_TIME
        header.accessed, header.changed = accessed, changed
    except ValueError:
        prefix = _text(block[345:500])
        _prefix(header, prefix if prefix.isascii() else b"")


def _read_devices(header: Header, block: bytes) -> None:
    header.device_major, header.device_minor = (
        read_number(block[at : at + 8]) for at in (329, 337)
    )


def _prefix(header: Header, prefix: bytes) -> None:
    header.name = prefix + b"/" + header.name if prefix else header.name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def read_number(field: Buffer) -> int:
    """Octal, or two's complement behind a set bit."""
    data = bytes(field)
    if not 0 < len(data) <= 12:
        raise ValueError("1 to 12 bytes hold a number")
    if not data[0] & 0x80:
        return _octal(data)
    bits = 8 * len(data) - 1
    value = int.from_bytes(data) & (1 << bits) - 1
    if value >> bits - 1:
        value -= 1 << bits
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("more than 64 bits")
    return value


def _octal(field: bytes) -> int:
    digits = _text(field.strip(b" \0"))
    if not set(digits) <= set(b"01234567"):
        raise ValueError("not octal")
    return int(digits or b"0", 8)


def split_path(path: bytes) -> tuple[bytes, bytes]:
    """Folder and name, resolved."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts[:-1]), b"".join(parts[-1:])


def write_inode(
    table: bytearray,
    number: int,
    about: Header,
    mode: int,
    size: int,
    links: int,
    blocks: int,
    flags: int,
    attribute_block: int,
    area: bytes,
) -> None:
    """The fields of an inode, in the order they have there."""
    at = (number - 1) * _INODE
    if not 0 <= at < len(table) or len(area) > _AREA:
        raise ValueError("no such place")
    accessed, changed, modified = (
        _time(seconds, nanoseconds)
        for seconds, nanoseconds in (
            (about.accessed, about.accessed_ns),
            (about.changed, about.changed_ns),
            (about.modified, about.modified_ns),
        )
    )
    low, high = (1 << 32) - 1, 32
    uid, gid = about.uid & low, about.gid & low
    _INODE_HEAD.pack_into(
        *(table, at, mode, uid & 0xFFFF, size & low, accessed & low, changed & low),
        *(modified & low, 0, gid & 0xFFFF, links, blocks, flags, 0, area),
        *(0, attribute_block, size >> high, 0),
    )
    _INODE_TAIL.pack_into(
        *(table, at + 116, 0, 0, uid >> 16, gid >> 16, 0, 0, 24, 0),
        *(changed >> high, modified >> high, accessed >> high, modified & low, modified >> high),
    )


def _time(seconds: int, nanoseconds: int) -> int:
    if (seconds, nanoseconds) == (NO_TIME, 0):
        return 0
    if seconds < -(1 << 31):
        return 1 << 31
    if seconds > 0x37FFFFFFF:
        return 0x37FFFFFFF
    return (seconds | nanoseconds << 34) & (1 << 64) - 1


def directory_blocks(
    table: Buffer, number: int, parent: int, children: list[tuple[int, bytes]]
) -> bytes:
    """Records in blocks, each ended by an empty one."""
    inodes = memoryview(table)
    blocks, left = [bytearray()], _BLOCK
    for child, name in [(number, b"."), (parent, b".."), *children]:
        if not 0 < len(name) < 256 or not 0 < child <= len(inodes) // _INODE:
            raise ValueError("no such child")
        room = (8 + len(name) + 3) // 4 * 4
        if left < room + 12:
            blocks.append(bytearray())
            left = _BLOCK
        kind = _TYPES.get(inodes[(child - 1) * _INODE + 1] >> 4, 0)
        record = struct.pack("<IHBB", child, room, len(name), kind) + name
        blocks[-1] += record.ljust(room, b"\0")
        left -= room
    return b"".join(
        (block + struct.pack("<IHBB", 0, _BLOCK - len(block), 0, 0)).ljust(_BLOCK, b"\0")
        for block in blocks
    )
