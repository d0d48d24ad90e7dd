"""Extended attributes as ext4 keeps them: behind an inode's fields, and in a block of their own.

What fits behind the fields goes there, in the order of whole names, the rest into the block
(Linux Documentation/filesystems/ext4/attributes.rst; hcsshim ext4/internal/compactext4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sealserve.policy.execution.layers.limits import MAX_COMPONENT_BYTES, MAX_SORTED_ATTRIBUTES
from sealserve.policy.execution.layers.refused import RefusedError, shown

INLINE_BYTES = 104  # of an inode, behind its fields
_BLOCK_BYTES = 4096
_MAGIC = 0xEA020000
_INLINE_HEADER = struct.Struct("<I")
_BLOCK_HEADER = struct.Struct("<III20x")  # one reference, one block, no hash and no checksum
_ENTRY = struct.Struct("<BBHIII")  # name, prefix, place of the value, block 0, size, hash
_LAST_ENTRY_BYTES = 4
_INLINE_ROOM = INLINE_BYTES - _INLINE_HEADER.size - _LAST_ENTRY_BYTES
_BLOCK_ROOM = _BLOCK_BYTES - _BLOCK_HEADER.size - _LAST_ENTRY_BYTES

# The first that fits stands for the start of a name; without one, 0 and the whole name.
_PREFIXES = (
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (8, b"system.richacl"),
    (7, b"system."),
    (1, b"user."),
    (4, b"trusted."),
    (6, b"security."),
)

Attributes = Mapping[bytes, bytes]


@dataclass(frozen=True)
class _Attribute:
    prefix: int
    name: bytes
    value: bytes

    @property
    def size(self) -> int:
        return _ENTRY.size + _padded(len(self.name)) + _padded(len(self.value))

    def comes_before(self, other: _Attribute) -> bool:
        """The reference's comparison, which is no order: see `_sorted_as_go_does`."""
        return (
            self.prefix < other.prefix or len(self.name) < len(other.name) or self.name < other.name
        )


def encode(attributes: Attributes) -> tuple[bytes, bytes]:
    """What stands behind the inode's fields and what in the block, each empty without any.

    Raises RefusedError for what neither has room for.
    """
    inline: list[_Attribute] = []
    block: list[_Attribute] = []
    inline_room, block_room = _INLINE_ROOM, _BLOCK_ROOM
    for name in sorted(attributes):
        made = _attribute(name, attributes[name])
        if made.size <= inline_room:
            inline.append(made)
            inline_room -= made.size
        elif made.size <= block_room:
            block.append(made)
            block_room -= made.size
        else:
            raise RefusedError(f"no room for the attribute {shown(name)} of {made.size} bytes")
    return _inline(inline), encode_block(block) if block else b""


def encode_block(attributes: Iterable[_Attribute] = ()) -> bytes:
    """A whole block of them."""
    head = _BLOCK_HEADER.pack(_MAGIC, 1, 1)
    return head + _laid_down(
        _sorted_as_go_does([*attributes]), _BLOCK_BYTES - len(head), first=len(head)
    )


def decode_inline(area: bytes) -> dict[bytes, bytes]:
    """Those behind an inode's fields."""
    return _read(area[_INLINE_HEADER.size :], first=0)


def decode_block(block: bytes) -> dict[bytes, bytes]:
    """Those of a whole block."""
    return _read(block[_BLOCK_HEADER.size :], first=_BLOCK_HEADER.size)


def _attribute(name: bytes, value: bytes) -> _Attribute:
    prefix, rest = next(
        ((index, name[len(text) :]) for index, text in _PREFIXES if name.startswith(text)),
        (0, name),
    )
    if len(rest) > MAX_COMPONENT_BYTES:
        raise RefusedError(f"an attribute whose name {shown(name)} has more than 255 bytes")
    return _Attribute(prefix, rest, value)


def _inline(attributes: list[_Attribute]) -> bytes:
    if not attributes:
        return b""
    room = INLINE_BYTES - _INLINE_HEADER.size
    return _INLINE_HEADER.pack(_MAGIC) + _laid_down(attributes, room, first=0)


def _laid_down(attributes: list[_Attribute], room: int, *, first: int) -> bytes:
    """Entries from the front, values from the end. first: what the area's start is counted as."""
    area = bytearray(room)
    at, end = 0, room
    for each in attributes:
        end -= _padded(len(each.value))
        _ENTRY.pack_into(
            *(area, at, len(each.name), each.prefix, end + first, 0, len(each.value)),
            _hash(each.name, each.value),
        )
        area[at + _ENTRY.size : at + _ENTRY.size + len(each.name)] = each.name
        area[end : end + len(each.value)] = each.value
        at += _ENTRY.size + _padded(len(each.name))
    return bytes(area)


def _read(area: bytes, *, first: int) -> dict[bytes, bytes]:
    """As the reference does: an entry without a name, which an access list has, ends them."""
    found = {}
    at = 0
    while at < len(area) and area[at]:
        name_bytes, prefix, place, _, size, _ = _ENTRY.unpack_from(area, at)
        name = area[at + _ENTRY.size : at + _ENTRY.size + name_bytes]
        start = place - first
        found[_whole_name(prefix, name)] = area[start : start + size]
        at += _ENTRY.size + _padded(name_bytes)
    return found


def _whole_name(prefix: int, name: bytes) -> bytes:
    return dict(_PREFIXES).get(prefix, b"") + name


def _hash(name: bytes, value: bytes) -> int:
    """attributes.rst, e_hash: over the bytes of the name, then the words of the value."""
    seen = 0
    for byte in name:
        seen = ((seen << 5 ^ seen >> 27) ^ byte) & 0xFFFFFFFF
    padded = value.ljust(_padded(len(value)), b"\0")
    for (word,) in struct.iter_unpack("<I", padded):
        seen = ((seen << 16 ^ seen >> 16) ^ word) & 0xFFFFFFFF
    return seen


def _sorted_as_go_does(attributes: list[_Attribute]) -> list[_Attribute]:
    """Go sorts up to twelve by insertion; with this comparison the way taken decides."""
    if len(attributes) > MAX_SORTED_ATTRIBUTES:
        raise RefusedError(
            f"{len(attributes)} attributes in one block; the order of more than"
            f" {MAX_SORTED_ATTRIBUTES} is not known"
        )
    for end in range(1, len(attributes)):
        at = end
        while at and attributes[at].comes_before(attributes[at - 1]):
            attributes[at - 1 : at + 1] = attributes[at], attributes[at - 1]
            at -= 1
    return attributes


def _padded(size: int) -> int:
    return (size + 3) & ~3
