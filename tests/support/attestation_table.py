"""Certificate tables as a host writes them, honest or not."""

from __future__ import annotations

import struct
from uuid import UUID

ENTRY_BYTES = 24


def entry(guid: UUID, offset: int, length: int) -> bytes:
    """One entry of the directory."""
    return guid.bytes + struct.pack("<II", offset, length)


def table(contents: dict[UUID, bytes]) -> bytes:
    """An honest table: directory, its end, contents one after the other."""
    offset = (len(contents) + 1) * ENTRY_BYTES
    directory = b""
    for guid, data in contents.items():
        directory += entry(guid, offset, len(data))
        offset += len(data)
    return directory + bytes(ENTRY_BYTES) + b"".join(contents.values())
