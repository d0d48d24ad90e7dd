"""Takes the large fields of a protobuf message apart and puts them together, without copying them.

protobuf's Python API hands out a new copy of a `bytes` field on every access and copies again when
it serialises. Tensors are the bulk of every prediction, so the fields that hold their contents are
cut out of the message first and the small rest is left to protobuf.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.native.errors import InputError

# protobuf encoding guide, "Message Structure": the wire types that exist outside groups.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10
_MAX_TAG = 2**32 - 1
Parts = list[bytes | memoryview]


def split(
    message: bytes | memoryview, *fields: int, max_fields: int
) -> tuple[bytes, list[list[memoryview]]]:
    """Cut every occurrence of some length-delimited fields out of a message.

    max_fields: how many fields, of whichever number, are stepped over before giving up; the time
    this takes grows with them and not with the message.
    Returns the message without them, in its order, and for each of `fields` its views into
    `message`. Raises InputError when the bytes are not a protobuf message, or one of more fields.
    """
    view = memoryview(message)
    size = len(view)
    rest: list[memoryview] = []
    pieces: dict[int, list[memoryview]] = {field: [] for field in fields}
    at = kept_from = seen = 0
    while at < size:
        if seen == max_fields:
            raise InputError(f"message has more than {max_fields} fields")
        seen += 1
        start = at
        tag, content = _varint(view, at)
        if tag > _MAX_TAG or tag >> 3 == 0:
            raise InputError(f"message has an impossible field tag at byte {start}")
        if tag & 7 == _LENGTH:
            length, content = _varint(view, content)
            at = _end(view, content, length)
            if tag >> 3 in pieces:
                rest.append(view[kept_from:start])
                pieces[tag >> 3].append(view[content:at])
                kept_from = at
        else:
            at = _end_of_number(view, content, tag & 7)
    rest.append(view[kept_from:])
    return b"".join(rest), list(pieces.values())


def parts(rest: bytes, field: int, pieces: Sequence[memoryview]) -> Parts:
    """What, one after the other, is `rest` and one length-delimited `field` for each piece."""
    found: Parts = [rest]
    tag = _encode_varint(field << 3 | _LENGTH)
    for piece in pieces:
        found += (tag, _encode_varint(piece.nbytes), piece)
    return found


def inside(field: int, content: Parts) -> Parts:
    """The same as the one `field` of another message. content: bytes and views of bytes."""
    size = sum(map(len, content))
    return [_encode_varint(field << 3 | _LENGTH), _encode_varint(size), *content]


def join(rest: bytes, field: int, pieces: Sequence[memoryview]) -> bytes:
    """A message of `rest` followed by one length-delimited `field` for each piece."""
    return b"".join(parts(rest, field, pieces))


def _end_of_number(message: memoryview, at: int, wire_type: int) -> int:
    if wire_type == _VARINT:
        return _varint(message, at)[1]
    if wire_type not in _FIXED_BYTES:  # groups left the protocol with proto3
        raise InputError(f"message has a value of wire type {wire_type} at byte {at}")
    return _end(message, at, _FIXED_BYTES[wire_type])


def _end(message: memoryview, at: int, size: int) -> int:
    # Slices of a memoryview are cut silently, so the length is compared here.
    if size > len(message) - at:
        raise InputError(
            f"message ends inside a field: {size} bytes announced at byte {at}, "
            f"{len(message) - at} present"
        )
    return at + size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    if at < len(message) and message[at] < 0x80:  # nearly all: tags, and lengths of names
        return message[at], at + 1
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= len(message):
            raise InputError(f"message ends inside a number at byte {at}")
        byte = message[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise InputError(f"message has a number of more than {_MAX_VARINT_BYTES} bytes at byte {at}")


def _encode_varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
