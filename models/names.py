"""Names of entries in the archive, their order and their limits (SPEC section 6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from sealserve.native.errors import FormatError

GRAPH = "model.onnx"
MANIFEST = "manifest.json"
WEIGHTS = "weights/"
SMALL = "weights/small"
# SPEC section 6: each entry is a file held open while loading; the directory stays below 6 MiB.
MAX_ENTRIES = 16384
MAX_NAME_BYTES = 255
MAX_PARTS = 16
# The limit of protobuf itself for one message.
MAX_GRAPH_BYTES = (1 << 31) - 1

_PART = re.compile(r"[A-Za-z0-9._+@=, -]+")
_NUMBERED = re.compile(r"weights/[0-9]{5}")


def numbered(number: int) -> str:
    """The entry of the tensor with this number, from 0."""
    return f"{WEIGHTS}{number:05}"


def problem(name: str) -> str:
    """What is wrong with a name, in words; empty if nothing is."""
    parts = name.split("/")
    if len(name) > MAX_NAME_BYTES or len(parts) > MAX_PARTS:
        return f"longer than {MAX_NAME_BYTES} bytes or {MAX_PARTS} folders deep"
    if any(part in ("", ".", "..") for part in parts):
        return "absolute, or it has an empty, '.' or '..' part"
    if not all(map(_PART.fullmatch, parts)):
        return "with characters other than letters, digits and ._+@=, -"
    return ""


def is_reserved(name: str) -> bool:
    """Whether only the format itself may use this name, or what it would make a folder."""
    return name.split("/")[0] in (GRAPH, MANIFEST, WEIGHTS.rstrip("/"))


def decode(name: bytes) -> str:
    """A name from its bytes. Raises FormatError."""
    try:
        return name.decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError(f"archive entry {name[:80]!r}: the name is not ASCII") from error


def check(entries: Sequence[tuple[str, int]]) -> None:
    """Raise FormatError unless these (name, size) can be one model's entries, in this order."""
    listed = [name for name, _ in entries]
    for name in listed:
        if wrong := problem(name):
            raise FormatError(f"archive entry {name[:80]!r}: the name is {wrong}")
    if twice := first_clash(listed):
        raise FormatError(f"archive entry {twice!r} is there twice, or is a folder of another")
    if listed[:2] != [GRAPH, MANIFEST]:
        raise FormatError(f"the archive begins with {listed[:2]}; wanted {[GRAPH, MANIFEST]}")
    if entries[0][1] > MAX_GRAPH_BYTES:
        raise FormatError(f"{GRAPH} has {entries[0][1]} bytes; at most {MAX_GRAPH_BYTES}")
    wanted = ordered(listed)
    for seen, right in zip_longest(listed, wanted):  # `wanted` is never the longer one
        if seen != right:
            raise FormatError(f"archive entry {seen!r} is out of place; wanted {right!r}")


def first_clash(listed: Iterable[str]) -> str:
    """The first name that stands there twice or is the folder of another; empty if none."""
    seen: set[str] = set()
    folders: set[str] = set()
    for name in listed:
        above = [name[:i] for i, letter in enumerate(name) if letter == "/"]
        if name in seen or name in folders or not seen.isdisjoint(above):
            return name
        seen.add(name)
        folders.update(above)
    return ""


def ordered(listed: Sequence[str]) -> list[str]:
    """The one order of a model's entries: what these names would have to be."""
    tensors = sum(1 for name in listed if _NUMBERED.fullmatch(name))
    small = [SMALL] if SMALL in listed else []
    others = sorted(name for name in listed if not is_reserved(name))
    return [GRAPH, MANIFEST, *map(numbered, range(tensors)), *small, *others]
