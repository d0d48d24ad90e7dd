"""Ranges of a sealed payload: what arrives, what is refused, and that nothing unverified stays."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import FormatError, IntegrityError
from support.native_backends import NATIVE
from support.native_loading import ENDS, Landing
from support.native_sealed import CONTEXT, KEY, Sealed, around, sealed

CHUNK, SEALED_CHUNK, PAGE, HEADER = 16384, 16400, 4096, 56
CASE = sealed(40 * CHUNK + 77, header_pages=2)
BODY = CASE.payload_offset + HEADER
END = CASE.payload_offset + CASE.payload_bytes
SIZE = len(CASE.plain)
Opened = Callable[..., Any]


@pytest.fixture
def ranges(backend: Any, tmp_path: Path) -> Iterator[Opened]:
    """Ranges of a case, whose file may hold something else."""
    with ExitStack() as stack:

        def make(case: Sealed = CASE, data: bytes | None = None, **changes: Any) -> Any:
            fd = case.write(tmp_path / "sealed", data)
            stack.callback(os.close, fd)
            tree = backend.TrustedTree.load(case.tree.area, len(case.data), case.tree.root)
            message = stack.enter_context(backend.Message.of(KEY, case.header, CONTEXT))
            given = {**case.layout, "tree": tree, "message": message, **changes}
            return backend.Ranges(fd, **given)

        yield make


def flipped(at: int) -> bytes:
    return CASE.data[:at] + bytes([CASE.data[at] ^ 0x10]) + CASE.data[at + 1 :]


def read(opened: Any, start: int, size: int) -> bytes:
    landing = Landing(size)
    memory = memoryview(landing.memory)[landing.destination.offset :][:size]
    opened.read_into(start, memory)
    return landing.landed


PLACES = {
    "nothing": (0, 0),
    "nothing at the end": (SIZE, 0),
    "the first byte": (0, 1),
    "the last byte": (SIZE - 1, 1),
    "a page inside a chunk": (5000, PAGE),
    "over a chunk's end": (CHUNK - 1, 2),
    "a whole chunk": (3 * CHUNK, CHUNK),
    "many chunks": (CHUNK + 9, 30 * CHUNK),
    "the short last chunk": (40 * CHUNK, 77),
    "all": (0, SIZE),
}


@pytest.mark.parametrize(("start", "size"), PLACES.values(), ids=PLACES)
def test_a_range_arrives(ranges: Opened, start: int, size: int) -> None:
    assert read(ranges(), start, size) == CASE.plain[start : start + size]


def test_one_after_the_other(ranges: Opened) -> None:
    opened = ranges()
    for start, size in PLACES.values():
        assert read(opened, start, size) == CASE.plain[start : start + size]


@pytest.mark.parametrize(
    "size", [0, 1, 2 * CHUNK, *(end + near for end in ENDS for near in (-1, 0, 1))]
)
def test_messages_of_every_kind_of_length(ranges: Opened, size: int) -> None:
    case = sealed(size)
    opened = ranges(case)
    assert opened.plain_bytes == size
    assert read(opened, 0, size) == case.plain
    for near in range(min(size, 18)):
        assert read(opened, size - near, near) == case.plain[size - near :]


@given(st.integers(0, SIZE), st.integers(0, 3 * CHUNK))
def test_any_range(tmp_path_factory: pytest.TempPathFactory, start: int, size: int) -> None:
    size = min(size, SIZE - start)
    fd = CASE.write(tmp_path_factory.mktemp("range") / "sealed")
    tree = NATIVE.TrustedTree.load(CASE.tree.area, len(CASE.data), CASE.tree.root)
    with NATIVE.Message.of(KEY, CASE.header, CONTEXT) as message:
        opened = NATIVE.Ranges(fd, **CASE.layout, tree=tree, message=message)
        assert read(opened, start, size) == CASE.plain[start : start + size]
    os.close(fd)


@pytest.mark.parametrize(("start", "size"), [(-1, 1), (0, SIZE + 1), (SIZE, 1), (2**63, 1)])
def test_outside_of_the_message(ranges: Opened, start: int, size: int) -> None:
    out = bytearray(b"\xaa" * size)
    with pytest.raises(ValueError, match="the message"):
        ranges().read_into(start, out)
    assert out == b"\xaa" * size  # not begun, so not touched


def test_a_buffer_that_cannot_be_written(ranges: Opened) -> None:
    with pytest.raises(BufferError):
        ranges().read_into(0, bytes(10))


# ---- what is refused: the altered byte lies in the range's own pages


def page_of(chunk: int) -> int:
    return (BODY + chunk * SEALED_CHUNK) // PAGE * PAGE


ALTERED = {
    "the first byte of the chunk": BODY + 3 * SEALED_CHUNK,
    "its tag": BODY + 4 * SEALED_CHUNK - 1,
    "the page before, where it begins": page_of(3),
    "the page behind, where it ends": page_of(4) + PAGE - 1,
}


@pytest.mark.parametrize("at", ALTERED.values(), ids=ALTERED)
def test_an_altered_page_is_refused_and_nothing_arrives(ranges: Opened, at: int) -> None:
    out = bytearray(b"\xaa" * 100)
    with pytest.raises(IntegrityError, match="tree"):
        ranges(data=flipped(at)).read_into(3 * CHUNK + 5, out)
    assert out == bytes(100)


def test_what_was_delivered_before_the_altered_page_is_wiped(ranges: Opened) -> None:
    out = bytearray(b"\xaa" * 30 * CHUNK)
    with pytest.raises(IntegrityError):
        ranges(data=flipped(BODY + 29 * SEALED_CHUNK)).read_into(0, out)
    assert out == bytes(30 * CHUNK)


@pytest.mark.parametrize("at", [BODY + 9 * SEALED_CHUNK, BODY - 2 * PAGE, END - 1])
def test_other_pages_are_not_looked_at(ranges: Opened, at: int) -> None:
    """They are other ranges' business; a load looks at all of them."""
    assert read(ranges(data=flipped(at)), 3 * CHUNK, 10) == CASE.plain[3 * CHUNK :][:10]


def tampered(at: int) -> Sealed:
    """With a tree over the altered bytes: only the message can tell."""
    return around(flipped(at), CASE.plain, CASE.payload_offset, CASE.payload_bytes)


@pytest.mark.parametrize("at", [BODY + 3 * SEALED_CHUNK, BODY + 4 * SEALED_CHUNK - 1])
def test_a_chunk_that_does_not_authenticate(ranges: Opened, at: int) -> None:
    case, out = tampered(at), bytearray(b"\xaa" * 3 * CHUNK)
    with pytest.raises(IntegrityError, match="chunk"):
        ranges(case).read_into(2 * CHUNK, out)
    assert out == bytes(3 * CHUNK)


def test_padding_behind_the_last_chunk(ranges: Opened) -> None:
    case = tampered(END)
    assert read(ranges(case), 0, 10) == CASE.plain[:10]
    with pytest.raises(FormatError, match="not zero"):
        ranges(case).read_into(SIZE - 1, bytearray(1))


def test_another_header_in_the_file(ranges: Opened) -> None:
    with pytest.raises(IntegrityError):
        ranges(data=flipped(CASE.payload_offset))


def test_a_header_that_the_message_is_not_made_of(backend: Any, ranges: Opened) -> None:
    other = backend.Message.new(KEY, CONTEXT)
    with pytest.raises(IntegrityError, match="header"):
        ranges(message=other)


def test_a_file_that_is_cut(ranges: Opened) -> None:
    opened = ranges(data=CASE.data[: BODY + 4 * SEALED_CHUNK])
    assert read(opened, 0, CHUNK) == CASE.plain[:CHUNK]
    with pytest.raises(IntegrityError):
        read(opened, 4 * CHUNK, 1)
    assert read(opened, 0, CHUNK) == CASE.plain[:CHUNK]


@pytest.mark.parametrize("size", [0, BODY, BODY + 3 * SEALED_CHUNK + 1])
def test_a_file_that_is_cut_or_altered_later(ranges: Opened, tmp_path: Path, size: int) -> None:
    """Each range is read anew and verified anew; a file that shrinks is a short one, no SIGBUS."""
    opened = ranges()
    assert read(opened, 3 * CHUNK, 100) == CASE.plain[3 * CHUNK :][:100]
    os.truncate(tmp_path / "sealed", size)
    out = bytearray(b"\xaa" * 100)
    with pytest.raises(IntegrityError, match=r"the file ends|not the one"):
        opened.read_into(3 * CHUNK, out)
    assert out == bytes(100)
    (tmp_path / "sealed").write_bytes(flipped(BODY + 3 * SEALED_CHUNK))
    with pytest.raises(IntegrityError, match="tree"):
        opened.read_into(3 * CHUNK, out)
    (tmp_path / "sealed").write_bytes(CASE.data)
    assert read(opened, 3 * CHUNK, 100) == CASE.plain[3 * CHUNK :][:100]


def test_every_flipped_byte_of_the_pages_of_a_range(ranges: Opened, tmp_path: Path) -> None:
    opened, begin, end = ranges(), page_of(3), page_of(4) + PAGE
    with (tmp_path / "sealed").open("r+b", buffering=0) as file:
        for at in range(begin, end, 1 if isinstance(opened, NATIVE.Ranges) else 37):
            out = bytearray(b"\xaa" * 10)
            os.pwrite(file.fileno(), bytes([CASE.data[at] ^ 1 << at % 8]), at)
            with pytest.raises(IntegrityError):
                opened.read_into(3 * CHUNK + 5, out)
            assert out == bytes(10), at
            os.pwrite(file.fileno(), CASE.data[at : at + 1], at)
    assert read(opened, 3 * CHUNK, 100) == CASE.plain[3 * CHUNK :][:100]


def test_a_tree_over_other_data(backend: Any, ranges: Opened) -> None:
    case = sealed(10)
    tree = backend.TrustedTree.load(case.tree.area, len(case.data), case.tree.root)
    with pytest.raises(ValueError, match="tree"):
        ranges(tree=tree)


def test_a_forked_child_cannot_read_through_them(tmp_path: Path) -> None:
    """What chunks are opened into is not there; nothing arrives and nothing crashes."""
    tree = NATIVE.TrustedTree.load(CASE.tree.area, len(CASE.data), CASE.tree.root)
    fd = CASE.write(tmp_path / "sealed")
    message = NATIVE.Message.of(KEY, CASE.header, CONTEXT)
    opened = NATIVE.Ranges(fd, **CASE.layout, tree=tree, message=message)
    child = os.fork()
    if child == 0:
        out, status = bytearray(b"\xaa" * 10), 1
        try:
            opened.read_into(0, out)
        except RuntimeError:
            status = int(out != b"\xaa" * 10)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert read(opened, 0, 10) == CASE.plain[:10]
    os.close(fd)


def test_one_thread_at_a_time(tmp_path: Path) -> None:
    """A reader that waits for its bytes is found by the second one, not overtaken."""
    tree = NATIVE.TrustedTree.load(CASE.tree.area, len(CASE.data), CASE.tree.root)
    fd = CASE.write(tmp_path / "sealed")
    message = NATIVE.Message.of(KEY, CASE.header, CONTEXT)
    opened = NATIVE.Ranges(fd, **CASE.layout, tree=tree, message=message)
    with pytest.raises(ValueError, match="set up already"):
        opened.__init__(fd, **CASE.layout, tree=tree, message=message)
    refused: list[bool] = []

    def busily() -> None:
        out = bytearray(SIZE)
        for _ in range(200):
            try:
                opened.read_into(0, out)
                assert out == CASE.plain
            except ValueError:
                refused.append(True)

    threads = [threading.Thread(target=busily) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert refused
    os.close(fd)
