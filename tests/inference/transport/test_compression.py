"""Messages that a caller compressed."""

from __future__ import annotations

import zlib

import pytest

from sealserve.inference.transport.compression import (
    IDENTITY,
    CompressionError,
    TooLongError,
    decompress,
    known,
)

WBITS = {b"gzip": 31, b"deflate": 15}
TEXT = b"a text " * 1000
of_both = pytest.mark.parametrize("encoding", WBITS)


def packed(encoding: bytes, text: bytes = TEXT) -> bytes:
    return zlib.compress(text, wbits=WBITS[encoding])


def test_which_are_known() -> None:
    assert all(map(known, (b"gzip", b"deflate", IDENTITY)))
    assert not any(map(known, (b"br", b"", b"Gzip")))


@of_both
@pytest.mark.parametrize("text", [b"", b"x", TEXT])
def test_what_is_in_it(encoding: bytes, text: bytes) -> None:
    assert decompress(packed(encoding, text), encoding, len(TEXT)) == text


@of_both
def test_so_much_may_be_in_it(encoding: bytes) -> None:
    assert decompress(packed(encoding), encoding, len(TEXT)) == TEXT
    with pytest.raises(TooLongError):
        decompress(packed(encoding), encoding, len(TEXT) - 1)


@of_both
def test_a_bomb_is_not_unpacked(encoding: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a gigabyte no more than what is allowed ever exists."""
    seen: list[int] = []
    make = zlib.decompressobj

    class Reader:
        def __init__(self, wbits: int) -> None:
            self._reader = make(wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            found = self._reader.decompress(data, most)
            seen.append(len(found))
            return found

    bomb = packed(encoding, bytes(2**24))
    monkeypatch.setattr(zlib, "decompressobj", Reader)
    with pytest.raises(TooLongError):
        decompress(bomb, encoding, 1000)
    assert seen == [1001]


@of_both
def test_what_is_broken(encoding: bytes) -> None:
    whole = packed(encoding)
    other = packed(next(each for each in WBITS if each != encoding))
    for data in (b"", b"x", whole[:-1], whole[:9], whole + b"x", whole * 2, other):
        with pytest.raises(CompressionError):
            decompress(data, encoding, len(TEXT))
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])  # of its checksum
    with pytest.raises(CompressionError):
        decompress(flipped, encoding, len(TEXT))


def test_no_encoding_at_all() -> None:
    with pytest.raises(CompressionError, match="names no encoding"):
        decompress(b"x", IDENTITY, 10)
