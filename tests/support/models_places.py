"""Where a single byte can be changed in a sealed file: a place in every region, by name."""

from __future__ import annotations

from collections.abc import Callable

from sealserve.models import format as layout
from support.models_sealed import PAGE, Regions

SEALED_CHUNK = 16400
Place = Callable[[Regions], int]


def json_end(regions: Regions) -> int:
    return layout.PREFIX_BYTES + layout.json_length(regions.front)


def message(regions: Regions) -> int:
    return len(regions.front)


def message_end(regions: Regions) -> int:
    return len(regions.front) + len(regions.message)


def tree(regions: Regions) -> int:
    return len(regions.covered)


def slots(regions: Regions) -> int:
    return tree(regions) + len(regions.tree)


# What the tree covers, without what is compared before the tree is.
HEADER: dict[str, Place] = {
    "magic": lambda r: 0,
    "format version": lambda r: 16,
    "json length": lambda r: 20,
    "json begin": lambda r: 24,
    "name": lambda r: r.front.index(b'"name":"') + 8,
    "payload size": lambda r: r.front.index(b'"payload_size":') + 16,
    "json end": lambda r: json_end(r) - 1,
    "header padding begin": json_end,
    "header padding end": lambda r: len(r.front) - 1,
}
MESSAGE: dict[str, Place] = {
    "salt": message,
    "salt end": lambda r: message(r) + 23,
    "commitment": lambda r: message(r) + 24,
    "commitment end": lambda r: message(r) + 55,
    "first chunk": lambda r: message(r) + 56,
    "first tag": lambda r: message(r) + 56 + SEALED_CHUNK - 1,
    "second chunk": lambda r: message(r) + 56 + SEALED_CHUNK,
    "middle": lambda r: message_end(r) // 2,
    "last chunk": lambda r: message_end(r) - 17,
    "last tag begin": lambda r: message_end(r) - 16,
    "last tag end": lambda r: message_end(r) - 1,
}
PADDING: dict[str, Place] = {
    "message padding begin": message_end,
    "message padding end": lambda r: tree(r) - 1,
}
# For a tree of two levels.
TREE: dict[str, Place] = {
    "top block": lambda r: tree(r) + PAGE,
    "top block filling": lambda r: tree(r) + 2 * PAGE - 1,
    "first leaf": lambda r: tree(r) + 2 * PAGE,
    "second block of leaves": lambda r: tree(r) + 3 * PAGE,
    "last leaf": lambda r: tree(r) + 2 * PAGE + (len(r.covered) // PAGE - 1) * 32,
    "leaves filling": lambda r: slots(r) - 1,
}
# Field of struct verity_sb in cryptsetup's lib/verity/verity.c, and its offset.
SUPERBLOCK_FIELDS = {
    "signature": 0,
    "version": 8,
    "hash type": 12,
    "uuid": 16,
    "algorithm": 32,
    "algorithm filling": 63,
    "data block size": 64,
    "hash block size": 68,
    "data blocks": 72,
    "salt size": 80,
    "padding of 6": 82,
    "salt": 88,
    "salt end": 88 + 255,
    "padding of 168": 344,
    "rest of the page": 512,
    "page end": PAGE - 1,
}
SUPERBLOCK: dict[str, Place] = {
    f"superblock {name}": lambda r, offset=offset: tree(r) + offset
    for name, offset in SUPERBLOCK_FIELDS.items()
}
COVERED = {**HEADER, **MESSAGE, **PADDING}


def flipped(data: bytes, place: Place, bit: int = 1) -> bytes:
    """The file with one bit changed there."""
    changed = bytearray(data)
    changed[place(Regions.of(data))] ^= bit
    return bytes(changed)
