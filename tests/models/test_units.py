"""Units of a payload sealed beside each other: the bytes of one after the other, whatever fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealserve.models.units import UnitSealer
from sealserve.native import verity
from sealserve.native.cobblestone import HEADER_BYTES, Message, sealed_size
from support.models_cramped import cramped

KEY, CONTEXT, PAGE = bytes(range(32)), b"context", 4096
UNIT = 256 * 16384
SIZES = [0, 1, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT, 5 * UNIT + 12345]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "sealed", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def sealer(size: int) -> tuple[UnitSealer, Message]:
    message = Message.new(KEY, CONTEXT)
    body = sealed_size(size) - HEADER_BYTES
    return UnitSealer(message, -(-body // PAGE) * PAGE), message


def pieces(plain: bytes, *sizes: int) -> Iterator[bytes]:
    """In pieces of these sizes, over and over."""
    at, number = 0, 0
    while at < len(plain):
        yield plain[at : at + sizes[number % len(sizes)]]
        at += sizes[number % len(sizes)]
        number += 1


@pytest.mark.parametrize("size", SIZES)
def test_it_opens_and_every_page_has_its_digest(target: int, size: int) -> None:
    plain = os.urandom(size)
    units, message = sealer(size)
    units.run(target, PAGE, pieces(plain, 100_000, 1, UNIT + 7))
    written = os.pread(target, units.size + 2 * PAGE, PAGE)
    assert len(written) == units.size
    opened, body = bytearray(size), sealed_size(size) - HEADER_BYTES
    Message.of(KEY, message.header, CONTEXT).open_into(0, written[:body], opened, last=True)
    assert opened == plain
    assert units.digests == verity.digests_of(written)


def test_a_source_that_fails_leaves_no_thread(target: int) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(2 * UNIT)
        raise EOFError("gone")

    before = threading.active_count()
    units, _ = sealer(5 * UNIT)
    with pytest.raises(EOFError):
        units.run(target, 0, broken())
    assert threading.active_count() == before


def test_a_disk_that_fills_up_ends_it(tmp_path: Path) -> None:
    units, _ = sealer(8 * UNIT)
    with cramped(tmp_path / "disk", 6000) as disk:
        fd = os.open(disk / "sealed", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        with pytest.raises(OSError, match="No space left"):
            units.run(fd, 0, pieces(bytes(8 * UNIT), 1 << 20))
        os.close(fd)
