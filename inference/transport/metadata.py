"""What gRPC writes into HTTP/2's headers [grpc/grpc doc/PROTOCOL-HTTP2.md]."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

Pair = tuple[bytes, bytes]
Metadata = tuple[tuple[str, str | bytes], ...]

_BINARY: Final = "-bin"
# Printable ASCII but the percent sign itself.
_PLAIN: Final = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")
# HTTP's and gRPC's own; what is left is the caller's.
_RESERVED: Final = frozenset({b"te", b"content-type"})
_RESERVED_STARTS: Final = (b":", b"grpc-")
TYPE: Final = b"application/grpc"
ANSWER: Final[list[Pair]] = [
    (b":status", b"200"),
    (b"content-type", TYPE),
    (b"grpc-accept-encoding", b"identity,deflate,gzip"),
]


class MetadataError(Exception):
    """Metadata that no client of gRPC sends."""


def caller_metadata(headers: Iterable[Pair]) -> Metadata:
    """What the caller itself said, in its order. Raises MetadataError."""
    return tuple(
        [pair for name, value in headers if _own(name) for pair in _decoded(name.decode(), value)]
    )


def trailers(code: int, words: str, metadata: Iterable[tuple[str, str | bytes]]) -> list[Pair]:
    """How an answer ends. code: of gRPC's list."""
    pairs = [(b"grpc-status", str(code).encode())]
    if words:
        pairs.append((b"grpc-message", quote(words, safe=_PLAIN, errors="replace").encode()))
    pairs.extend(_encoded(key, value) for key, value in metadata)
    return pairs


def _own(name: bytes) -> bool:
    return name not in _RESERVED and not name.startswith(_RESERVED_STARTS)


def _decoded(name: str, value: bytes) -> list[tuple[str, str | bytes]]:
    """One value, or several bytes that HTTP joined by commas; text may have commas of its own."""
    if not name.endswith(_BINARY):
        return [(name, value.decode("latin-1"))]
    return [(name, _bytes(each.strip(b" "))) for each in value.split(b",")]


def _bytes(text: bytes) -> bytes:
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise MetadataError("metadata whose name ends in -bin is base64") from error


def _encoded(key: str, value: str | bytes) -> Pair:
    if isinstance(value, bytes):
        return key.encode(), b64encode(value).rstrip(b"=")
    return key.encode(), value.encode()
