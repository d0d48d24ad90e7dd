"""A unit of a message in a file: the same bytes and digests as sealing and hashing apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealserve.native import cobblestone, verity
from sealserve.native.cobblestone import Message, sealed_size
from support.models_cramped import cramped
from support.native_loading import ENDS
from support.native_sealed import CONTEXT, KEY

CHUNK, PAGE, DIGEST = 16384, 4096, 32
UNIT = 256 * CHUNK
HEAD = 2 * PAGE
FARTHEST = 1 << 43  # of what ext4 and tmpfs take: 16 TiB
LENGTHS = [
    *(0, 1, 100, 11 * CHUNK, 12 * CHUNK + 7, 13 * CHUNK),
    *(end + near for end in ENDS for near in (-1, 0, 1) if end + near <= UNIT),
]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "sealed", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    yield fd
    os.close(fd)


@pytest.fixture
def message(backend: Any) -> Any:
    return backend.Message.new(KEY, CONTEXT)


def seal_unit(backend: Any, fd: int, message: Any, plain: bytes, **changes: Any) -> bytes:
    given = {"offset": HEAD, "first_chunk": 0, "last": True, **changes}
    pages = backend.pages_of(len(plain), last=given["last"])
    digests = bytearray(given.pop("digest_bytes", pages * DIGEST))
    offset, first = given.pop("offset"), given.pop("first_chunk")
    assert backend.seal_unit(fd, offset, message, first, plain, digests, **given) == pages
    return bytes(digests)


def content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


@pytest.mark.parametrize("size", LENGTHS)
def test_the_end_of_a_message(backend: Any, target: int, message: Any, size: int) -> None:
    plain = os.urandom(size)
    digests = seal_unit(backend, target, message, plain)
    written = content(target)
    assert written[:HEAD] == bytes(HEAD)
    sealed, body = written[HEAD:], sealed_size(size) - cobblestone.HEADER_BYTES
    assert len(sealed) == -(-body // PAGE) * PAGE
    assert not any(sealed[body:])
    opened = bytearray(size)
    Message.of(KEY, message.header, CONTEXT).open_into(0, sealed[:body], opened, last=True)
    assert opened == plain
    assert digests == verity.digests_of(sealed)


def test_units_one_behind_the_other(backend: Any, target: int, message: Any) -> None:
    plain = os.urandom(UNIT + 3 * CHUNK + 5)
    size = 1025 * PAGE
    digests = seal_unit(backend, target, message, plain[UNIT:], offset=HEAD + size, first_chunk=256)
    assert content(target)[:HEAD] == bytes(HEAD)
    digests = seal_unit(backend, target, message, plain[:UNIT], last=False) + digests
    sealed, body = content(target)[HEAD:], sealed_size(len(plain)) - cobblestone.HEADER_BYTES
    opened = bytearray(len(plain))
    Message.of(KEY, message.header, CONTEXT).open_into(0, sealed[:body], opened, last=True)
    assert opened == plain
    assert digests == verity.digests_of(sealed)


@pytest.mark.parametrize("first_chunk", [256, 1 << 18, 1 << 32, (1 << 38) - 512])
def test_a_unit_far_into_a_message(
    backend: Any, target: int, message: Any, first_chunk: int
) -> None:
    """At its place in a file of which all before it is a hole, beyond 4 GiB and up to 4 PiB."""
    plain = os.urandom(2 * CHUNK + 5)
    offset = HEAD + min(first_chunk // 256 * 1025 * PAGE, FARTHEST)
    digests = seal_unit(backend, target, message, plain, offset=offset, first_chunk=first_chunk)
    sealed = os.pread(target, 10 * PAGE, offset)
    assert digests == verity.digests_of(sealed)
    opened, body = bytearray(len(plain)), len(plain) + 3 * 16
    ours = Message.of(KEY, message.header, CONTEXT)
    ours.open_into(first_chunk, sealed[:body], opened, last=True)
    assert opened == plain


REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "an offset inside a page": (10, {"offset": HEAD + 1}),
    "an offset before the file": (10, {"offset": -PAGE}),
    "an offset beyond any file": (10, {"offset": 1 << 64}),
    "a chunk inside a unit": (10, {"first_chunk": 255}),
    "a chunk before the message": (10, {"first_chunk": -256}),
    "a chunk beyond any message": (10, {"first_chunk": 1 << 64}),
    "less than a unit, and not the last": (UNIT - CHUNK, {"last": False}),
    "more than a unit": (UNIT + 1, {}),
    "too few digests": (10, {"digest_bytes": 0}),
    "too many digests": (10, {"digest_bytes": 2 * DIGEST}),
}


@pytest.mark.parametrize(("size", "changes"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_unit_is_not_begun(
    backend: Any, target: int, message: Any, size: int, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"unit|digests"):
        seal_unit(backend, target, message, bytes(size), **changes)
    assert content(target) == b""


def test_a_message_that_was_wiped(backend: Any, target: int, message: Any) -> None:
    message.wipe()
    with pytest.raises(ValueError, match="wiped"):
        seal_unit(backend, target, message, b"x")
    assert content(target) == b""


def test_a_file_that_cannot_be_written(backend: Any, tmp_path: Path, message: Any) -> None:
    (tmp_path / "read-only").touch()
    fd = os.open(tmp_path / "read-only", os.O_RDONLY | os.O_CLOEXEC)
    with pytest.raises(OSError, match="descriptor"):
        seal_unit(backend, fd, message, b"x")
    os.close(fd)


def test_a_full_disk(backend: Any, tmp_path: Path, message: Any) -> None:
    with cramped(tmp_path / "disk", 2048) as disk:
        fd = os.open(disk / "sealed", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        with pytest.raises(OSError, match="No space left"):
            seal_unit(backend, fd, message, bytes(UNIT), last=False)
        os.close(fd)


@pytest.mark.parametrize("blocks", [1, 2, 128, 129, 16385])
def test_a_tree_of_digests_is_the_tree_of_the_data(backend: Any, blocks: int) -> None:
    data = os.urandom(blocks * PAGE)
    builder = verity.TreeBuilder()
    builder.update(data)
    wanted, made = builder.finish(), backend.tree_of(backend.digests_of(data))
    assert (made.root, made.area) == (wanted.root, wanted.area)


@pytest.mark.parametrize("size", [1, PAGE - 1])
def test_digests_are_of_whole_blocks(backend: Any, size: int) -> None:
    with pytest.raises(ValueError, match="whole blocks"):
        backend.digests_of(bytes(size))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_tree_has_whole_digests(backend: Any, size: int) -> None:
    with pytest.raises(ValueError, match="whole"):
        backend.tree_of(bytes(size))
