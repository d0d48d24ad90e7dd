"""Header and geometry of a sealed model (SPEC sections 1 to 3): values and bytes, no I/O."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec

from sealserve.models import canonical
from sealserve.native import cobblestone, verity
from sealserve.native.errors import FormatError, IntegrityError

PAGE_BYTES = verity.BLOCK_BYTES
MAGIC = b"sealserve/model\n"
FORMAT_VERSION = 1
CONTEXT = b"sealserve/model/v1\0"

_PREFIX = struct.Struct("<16sII")  # magic, format version, length of the JSON
PREFIX_BYTES = _PREFIX.size
# SPEC section 1: the header pages fit one read of 64 KiB.
MAX_HEADER_BYTES = 64 * 1024
MAX_JSON_BYTES = MAX_HEADER_BYTES - PREFIX_BYTES - cobblestone.HEADER_BYTES
# SPEC section 1: beyond any machine that could open it; the tree stays below 9 GiB.
MAX_PAYLOAD_BYTES = 1 << 40

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_CREATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sealed file says of itself, in public.

    created: UTC, `YYYY-MM-DDTHH:MM:SSZ`. payload_size: bytes of the Cobblestone message, its
    header included. key_id: 16 hexadecimal digits.
    """

    batch_independent: bool
    created: str
    key_id: str
    name: str
    payload_size: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAYLOAD_BYTES)]
    version: str


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where everything stands, in bytes from the start of the file. It follows from the header.

    payload_offset: P. data_bytes: V, what the tree covers and where it begins. slots_offset: K.
    """

    payload_offset: int
    payload_size: int
    data_bytes: int
    slots_offset: int

    @property
    def payload_end(self) -> int:
        """The first byte behind the message; zeros follow to V."""
        return self.payload_offset + self.payload_size

    @property
    def plain_size(self) -> int:
        """Bytes of the archive inside the message."""
        return cobblestone.plain_size(self.payload_size)


def encode_header(header: Header) -> bytes:
    """Bytes 0 … P-1. Raises FormatError for values that no reader accepts."""
    _check(header)
    text = canonical.encode(header)
    front = _PREFIX.pack(MAGIC, FORMAT_VERSION, len(text)) + text
    return front.ljust(_payload_offset(len(text)), b"\0")


def json_length(prefix: bytes) -> int:
    """L, from the first 24 bytes of a file. Raises FormatError."""
    if len(prefix) < PREFIX_BYTES or not prefix.startswith(MAGIC):
        raise FormatError(
            "this is not a sealed model file: it does not begin like one",
            hint="`sealserve seal` makes them; if this was one, its first bytes were altered",
        )
    _, version, length = _PREFIX.unpack(prefix[:PREFIX_BYTES])
    if version != FORMAT_VERSION:
        raise FormatError(
            f"format version {version}; this program reads {FORMAT_VERSION}",
            hint="a newer sealserve may read it",
        )
    if not 0 < length <= MAX_JSON_BYTES:
        raise FormatError(f"header of {length} bytes; 1 to {MAX_JSON_BYTES} are allowed")
    return int(length)


def header_bytes(prefix: bytes) -> int:
    """P, from the first 24 bytes of a file. Raises FormatError."""
    return _payload_offset(json_length(prefix))


def decode_header(front: bytes) -> Header:
    """Read bytes 0 … P-1. Raises FormatError for anything `encode_header` would not write."""
    length = json_length(front)
    end = PREFIX_BYTES + length
    if len(front) != _payload_offset(length):
        raise IntegrityError(
            f"the file is cut in its header: {len(front)} bytes; {_payload_offset(length)} wanted"
        )
    header = canonical.decode(front[PREFIX_BYTES:end], Header, "header")
    _check(header)
    check_zero(front[end:], "header")
    return header


def geometry(payload_offset: int, payload_size: int) -> Geometry:
    """What follows from P and payload_size."""
    data_bytes = round_up(payload_offset + payload_size)
    slots_offset = data_bytes + verity.tree_size(data_bytes)
    return Geometry(payload_offset, payload_size, data_bytes, slots_offset)


def round_up(size: int) -> int:
    """The next multiple of a page."""
    return -(-size // PAGE_BYTES) * PAGE_BYTES


def check_zero(padding: bytes | memoryview, after: str) -> None:
    """Raise FormatError unless the padding behind `after` is all zeros."""
    if any(padding):
        raise FormatError(f"the padding after the {after} is not zero")


def _payload_offset(json_bytes: int) -> int:
    used = PREFIX_BYTES + json_bytes + cobblestone.HEADER_BYTES
    return round_up(used) - cobblestone.HEADER_BYTES


def _check(header: Header) -> None:
    for member, allowed in _MEMBERS.items():
        value = getattr(header, member)
        if not allowed.fullmatch(value):
            raise FormatError(f"header: {member} is {value[:80]!r}; wanted {allowed.pattern}")
    try:
        datetime.strptime(header.created, CREATED_FORMAT)
    except ValueError as error:
        raise FormatError(f"header: created is {header.created!r}, no such time") from error
    cobblestone.plain_size(header.payload_size)


_MEMBERS = {"created": _CREATED, "key_id": _KEY_ID, "name": NAME, "version": VERSION}
