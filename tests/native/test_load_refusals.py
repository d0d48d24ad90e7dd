"""What a load refuses, when it notices, and what is left of what it delivered before."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealserve.native.destination import Destination
from sealserve.native.errors import FormatError, IntegrityError
from support.native_backends import NATIVE
from support.native_loading import (
    UNIT_PLAIN,
    UNTOUCHED,
    Landing,
    being_delivered,
    bytes_read,
    content_of,
    load,
    memory_file,
)
from support.native_sealed import CONTEXT, KEY, Sealed, around, sealed

CHUNK, SEALED_CHUNK, PAGE, HEADER = 16384, 16400, 4096, 56
SMALL = sealed(2 * CHUNK + 100)  # a page of header, three chunks, padding
START = SMALL.payload_offset
BODY = START + HEADER
END = START + SMALL.payload_bytes
BIG = sealed(UNIT_PLAIN + 3 * CHUNK)  # a page of header, two units
LONG = sealed(6 * UNIT_PLAIN)
TINY = sealed(100)
Progress = Callable[[int, int], None]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[Sealed, bytes], int]]:
    with ExitStack() as stack:

        def write(case: Sealed, data: bytes) -> int:
            fd = case.write(tmp_path / "sealed", data)
            stack.callback(os.close, fd)
            return fd

        yield write


def edit(fd: int, change: Callable[[int], object]) -> None:
    """Change a file that is open for reading."""
    with Path(f"/proc/self/fd/{fd}").open("r+b", buffering=0) as file:
        change(file.fileno())


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :]


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:size]


def swap_chunks(data: bytes) -> bytes:
    first, second = (data[at : at + SEALED_CHUNK] for at in (BODY, BODY + SEALED_CHUNK))
    return data[:BODY] + second + first + data[BODY + 2 * SEALED_CHUNK :]


def tamper(case: Sealed, change: Callable[[bytes], bytes]) -> Sealed:
    """With a tree, and so a root, over the altered bytes."""
    return around(change(case.data), case.plain, case.payload_offset, case.payload_bytes)


def refused(
    error: type[Exception],
    match: str,
    backend: Any,
    case: Sealed,
    fd: int,
    *more: Destination,
    **options: Any,
) -> BaseException:
    """It raises this, with every destination wiped."""
    landing = Landing(len(case.plain))
    with memory_file(b"before") as file:
        destinations = [landing.destination, Destination(0, 1, fd=file), *more]
        with pytest.raises(error, match=match) as caught:
            load(backend, case, fd, destinations, **options)
        assert content_of(file) == b""
    assert landing.landed == bytes(landing.size)
    return caught.value


def not_begun(
    error: type[Exception],
    match: str,
    backend: Any,
    *more: Destination,
    case: Sealed = SMALL,
    **options: Any,
) -> None:
    """It raises this before it reads or writes: there is no file, and nothing is wiped either."""
    landing = Landing(len(SMALL.plain))
    with memory_file(b"before") as file:
        destinations = [landing.destination, Destination(0, 1, fd=file), *more]
        with pytest.raises(error, match=match):
            load(backend, case, -1, destinations, **options)
        assert content_of(file) == b"before"
    assert landing.untouched


# ---- the file is another one than the root says

PLACES = {
    "first byte": 0,
    "salt": START,
    "commitment": BODY - 1,
    "first chunk": BODY,
    "first tag": BODY + CHUNK,
    "second chunk": BODY + SEALED_CHUNK,
    "last chunk": BODY + 2 * SEALED_CHUNK,
    "last tag": END - 1,
    "padding": END,
    "last byte": len(SMALL.data) - 1,
}


@pytest.mark.parametrize("at", PLACES.values(), ids=PLACES)
def test_a_flipped_byte(backend: Any, opened: Callable[[Sealed, bytes], int], at: int) -> None:
    fd = opened(SMALL, flip(at)(SMALL.data))
    refused(IntegrityError, f"block {at // PAGE} is not the one", backend, SMALL, fd)


@pytest.mark.parametrize("at", [0, BODY, PAGE + UNIT_PLAIN, len(BIG.data) - 1])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_flipped_byte_in_any_unit(
    opened: Callable[[Sealed, bytes], int], at: int, threads: int
) -> None:
    fd = opened(BIG, flip(at)(BIG.data))
    match = f"block {at // PAGE} is not the one"
    refused(IntegrityError, match, NATIVE, BIG, fd, threads=threads)


@pytest.mark.parametrize("size", [0, 1, START, PAGE, BODY + CHUNK, len(SMALL.data) - 1])
def test_a_short_file(backend: Any, opened: Callable[[Sealed, bytes], int], size: int) -> None:
    fd = opened(SMALL, cut(size)(SMALL.data))
    refused(IntegrityError, "the file ends", backend, SMALL, fd)


def test_the_end_of_a_short_file_as_several_threads_see_it(
    opened: Callable[[Sealed, bytes], int],
) -> None:
    """A thread may meet nothing but what is missing, so none knows where the file ends."""
    fd = opened(BIG, BIG.data[:10])
    match = r"the file ends at or before byte \d+; it has to have"
    refused(IntegrityError, match, NATIVE, BIG, fd, threads=5)


def test_every_flipped_byte_of_a_small_file(
    backend: Any, opened: Callable[[Sealed, bytes], int]
) -> None:
    """Header page, salt, commitment, text, tag and padding: two pages, each byte once."""
    data = TINY.data
    fd = opened(TINY, data)
    with backend.Message.of(KEY, TINY.header, CONTEXT) as message:
        tree = backend.TrustedTree.load(TINY.tree.area, len(data), TINY.tree.root)
        given = {**TINY.layout, "tree": tree, "message": message}
        for at in range(0, len(data), 1 if backend is NATIVE else 37):
            flipped = bytes([data[at] ^ 1 << at % 8])
            edit(fd, lambda file, flipped=flipped, at=at: os.pwrite(file, flipped, at))
            landing = Landing(len(TINY.plain))
            with pytest.raises(IntegrityError, match=f"block {at // PAGE} is not the one"):
                backend.load(fd, **given, destinations=[landing.destination], threads=1)
            assert landing.landed == bytes(landing.size), at
            edit(fd, lambda file, at=at: os.pwrite(file, data[at : at + 1], at))
        backend.load(fd, **given, destinations=[landing.destination])
    assert landing.landed == TINY.plain


# ---- the file becomes another one while it is read


def meanwhile(slow: list[Destination], work: Callable[[], object]) -> tuple[Progress, list[bool]]:
    """A callback that does it once, while the first unit is delivered and the second not yet read.

    Also returned: whether it was done.
    """
    done: list[bool] = []

    def progress(_done: int, _total: int) -> None:
        if not done and being_delivered(slow):
            work()
            done.append(True)

    return progress, done


CHANGES: dict[str, tuple[Callable[[int], object], str]] = {
    "cut to nothing": (lambda fd: os.ftruncate(fd, 0), "the file ends at or before"),
    "cut inside a page": (lambda fd: os.ftruncate(fd, len(BIG.data) - 1), "the file ends"),
    "cut at a page": (lambda fd: os.ftruncate(fd, len(BIG.data) - PAGE), "the file ends"),
    "a byte altered": (lambda fd: os.pwrite(fd, b"!!", len(BIG.data) - 9000), "is not the one"),
    "a hole": (
        lambda fd: (os.ftruncate(fd, PAGE), os.ftruncate(fd, len(BIG.data))),
        "is not the one",
    ),
}


@pytest.mark.parametrize(("change", "match"), CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes_while_it_is_read(
    opened: Callable[[Sealed, bytes], int],
    slow: list[Destination],
    change: Callable[[int], object],
    match: str,
) -> None:
    """Nothing is mapped, so a file that shrinks is a short one, and no SIGBUS."""
    fd = opened(BIG, BIG.data)
    progress, done = meanwhile(slow, lambda: edit(fd, change))
    refused(IntegrityError, match, NATIVE, BIG, fd, *slow, threads=1, progress=progress)
    assert done


def test_what_was_read_is_not_read_again(
    opened: Callable[[Sealed, bytes], int], slow: list[Destination]
) -> None:
    """What changes behind the reader is nobody's: the copy that was verified is delivered."""
    fd = opened(BIG, BIG.data)
    landing = Landing(len(BIG.plain))
    progress, done = meanwhile(slow, lambda: edit(fd, lambda file: os.pwrite(file, b"!" * PAGE, 0)))
    load(NATIVE, BIG, fd, [*slow, landing.destination], threads=1, progress=progress)
    assert done
    assert landing.landed == BIG.plain


def test_the_others_stop_when_one_fails(opened: Callable[[Sealed, bytes], int]) -> None:
    """Each ends the unit it is in; none takes another."""
    fd = opened(LONG, flip(BODY)(LONG.data))
    before = bytes_read()
    refused(IntegrityError, "block 1 is not the one", NATIVE, LONG, fd, threads=2)
    assert bytes_read() - before < len(LONG.data) - 2 * UNIT_PLAIN


# ---- the root says what was sealed with another intention: only the message's own checks see it

DISHONEST: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "first chunk": (flip(BODY), "chunk 0 does not authenticate"),
    "first tag": (flip(BODY + CHUNK), "chunk 0 does not authenticate"),
    "second chunk": (flip(BODY + SEALED_CHUNK), "chunk 1 does not authenticate"),
    "last chunk": (flip(BODY + 2 * SEALED_CHUNK), "chunk 2 does not authenticate"),
    "last tag": (flip(END - 1), "chunk 2 does not authenticate"),
    "chunks swapped": (swap_chunks, "chunk 0 does not authenticate"),
    "salt": (flip(START), "header in the file"),
    "commitment": (flip(BODY - 1), "header in the file"),
}


@pytest.mark.parametrize(("change", "match"), DISHONEST.values(), ids=DISHONEST)
def test_a_tree_over_an_altered_message(
    backend: Any,
    opened: Callable[[Sealed, bytes], int],
    change: Callable[[bytes], bytes],
    match: str,
) -> None:
    case = tamper(SMALL, change)
    with backend.Message.of(KEY, SMALL.header, CONTEXT) as message:
        fd = opened(case, case.data)
        refused(IntegrityError, match, backend, case, fd, message=message)


@pytest.mark.parametrize("at", [END, len(SMALL.data) - 1])
def test_padding_that_is_not_zero(
    backend: Any, opened: Callable[[Sealed, bytes], int], at: int
) -> None:
    case = tamper(SMALL, flip(at))
    fd = opened(case, case.data)
    refused(FormatError, "behind the last chunk", backend, case, fd)


@pytest.mark.parametrize("size", [BODY + 17, BODY + SEALED_CHUNK + 500, END - 1])
def test_a_message_cut_to_a_length_that_exists(
    backend: Any, opened: Callable[[Sealed, bytes], int], size: int
) -> None:
    data = SMALL.data[:size] + bytes(-size % PAGE)
    last = (size - BODY) // SEALED_CHUNK
    plain = SMALL.plain[: size - BODY - 16 * (last + 1)]
    case = around(data, plain, START, size - START)
    fd = opened(case, data)
    refused(IntegrityError, f"chunk {last} does not authenticate", backend, case, fd)


def test_a_message_of_the_same_key_that_is_not_the_file_s(
    backend: Any, opened: Callable[[Sealed, bytes], int]
) -> None:
    """On one thread: with two, the other may be at the first chunk before the header is read."""
    with backend.Message.new(KEY, CONTEXT) as other:
        fd = opened(SMALL, SMALL.data)
        options = {"message": other, "threads": 1}
        refused(IntegrityError, "header in the file", backend, SMALL, fd, **options)


# ---- what is refused before there is anything to load


@pytest.mark.parametrize("at", [0, PAGE - 1, PAGE, PAGE + 31, 2 * PAGE - 1])
def test_a_flipped_byte_in_the_tree(backend: Any, at: int) -> None:
    """Superblock, leaves, and the zeros that fill up their block."""
    area = flip(at)(SMALL.tree.area)
    not_begun(IntegrityError, "tree|superblock|root", backend, area=area)


def test_another_root(backend: Any) -> None:
    not_begun(IntegrityError, "root", backend, root=bytes(32))


@pytest.mark.parametrize("wrong", [{"key": bytes(32)}, {"context": b"another"}])
def test_another_key_or_context(backend: Any, wrong: dict[str, Any]) -> None:
    not_begun(IntegrityError, "commitment", backend, **wrong)


# ---- nothing is delivered before it is verified

UNIT = sealed(UNIT_PLAIN - 1)
UNIT_END = UNIT.payload_offset + UNIT.payload_bytes
LATE: dict[str, tuple[Sealed, Callable[[bytes], bytes]]] = {
    "the last block altered": (UNIT, flip(UNIT_END - 1)),
    "the last byte missing": (UNIT, cut(len(UNIT.data) - 1)),
    "the last tag altered": (tamper(UNIT, flip(UNIT_END - 1)), bytes),
    "the padding altered": (tamper(UNIT, flip(UNIT_END)), bytes),
}


@pytest.fixture
def keeps() -> Iterator[int]:
    """A file that cannot be emptied, so that whatever was delivered can be seen."""
    with memory_file(bytes([UNTOUCHED]) * len(UNIT.plain), fcntl.F_SEAL_SHRINK) as fd:
        yield fd


@pytest.mark.parametrize(("case", "change"), LATE.values(), ids=LATE)
def test_nothing_arrives_from_a_chunk_that_is_refused(
    opened: Callable[[Sealed, bytes], int],
    keeps: int,
    case: Sealed,
    change: Callable[[bytes], bytes],
) -> None:
    """What was verified before it may have, in order; no byte of it, and none behind it."""
    fd = opened(case, change(case.data))
    destination = Destination(0, len(case.plain), fd=keeps)
    with pytest.raises((IntegrityError, FormatError)) as caught:
        load(NATIVE, case, fd, [destination], threads=1)
    landed, untouched = content_of(keeps), bytes([UNTOUCHED]) * len(case.plain)
    arrived, last = 0, len(case.plain) // CHUNK * CHUNK
    while arrived < last and landed[arrived : arrived + CHUNK] == case.plain[arrived:][:CHUNK]:
        arrived += CHUNK
    assert landed[arrived:] == untouched[arrived:]
    assert caught.value.__notes__ == [
        f"fd {keeps} could not be emptied ({os.strerror(errno.EPERM)}):"
        " plaintext may remain in that file"
    ]


def test_nothing_arrives_before_the_message_s_header_is_verified(
    opened: Callable[[Sealed, bytes], int], keeps: int
) -> None:
    fd = opened(UNIT, flip(0)(UNIT.data))
    with pytest.raises(IntegrityError):
        load(NATIVE, UNIT, fd, [Destination(0, len(UNIT.plain), fd=keeps)], threads=1)
    assert content_of(keeps) == bytes([UNTOUCHED]) * len(UNIT.plain)


def test_a_file_that_cannot_be_emptied_takes_what_is_verified(
    opened: Callable[[Sealed, bytes], int], keeps: int
) -> None:
    fd = opened(UNIT, UNIT.data)
    load(NATIVE, UNIT, fd, [Destination(0, len(UNIT.plain), fd=keeps)])
    assert content_of(keeps) == UNIT.plain


# ---- the system says no


@pytest.fixture
def unreadable(tmp_path: Path) -> Iterator[dict[int, int]]:
    """By the errno that reading at an offset gives."""
    ends = os.pipe()
    made = {
        errno.EISDIR: os.open(tmp_path, os.O_RDONLY),
        errno.ESPIPE: ends[0],
        errno.EBADF: os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT),
    }
    yield made
    for fd in {*made.values(), *ends}:
        os.close(fd)


@pytest.mark.parametrize("code", [errno.EISDIR, errno.ESPIPE, errno.EBADF])
def test_a_file_that_cannot_be_read(backend: Any, unreadable: dict[int, int], code: int) -> None:
    error = refused(OSError, os.strerror(code), backend, SMALL, unreadable[code])
    assert isinstance(error, OSError)
    assert error.errno == code


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[dict[int, int]]:
    """By the errno that writing gives."""
    made = {
        errno.ENOSPC: os.open("/dev/full", os.O_WRONLY),
        errno.EBADF: os.open(tmp_path, os.O_RDONLY),
    }
    yield made
    for fd in made.values():
        os.close(fd)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EBADF])
def test_a_file_that_cannot_be_written(
    opened: Callable[[Sealed, bytes], int], unwritable: dict[int, int], code: int
) -> None:
    fd = opened(SMALL, SMALL.data)
    more = Destination(7, 9, fd=unwritable[code])
    error = refused(OSError, "cannot write plaintext", NATIVE, SMALL, fd, more)
    assert isinstance(error, OSError)
    assert error.errno == code
    assert f"fd {more.fd} could not be emptied" in error.__notes__[0]


# ---- arguments that do not fit, before anything is read

LAYOUTS: dict[str, tuple[Sealed, str]] = {
    "the first chunk beside a page": (replace(SMALL, payload_offset=START + 1), "begin a page"),
    "a message before the file": (
        around(SMALL.data[PAGE:], SMALL.plain, -HEADER, SMALL.payload_bytes),
        "begin a page",
    ),
    "a page more": (tamper(SMALL, lambda data: data + bytes(PAGE)), "ends within"),
    "a page less": (tamper(SMALL, cut(len(SMALL.data) - PAGE)), "ends within"),
}
SIZE = len(SMALL.plain)
ROOM = bytearray(SIZE)
MISPLACED: dict[str, Destination] = {
    "past the end": Destination(1, SIZE, buffer=ROOM),
    "wholly past the end": Destination(SIZE + 1, 0, buffer=ROOM),
    "before the start": Destination(-1, 1, buffer=ROOM),
    "less than nothing": Destination(1, -1, buffer=ROOM),
    "before the buffer": Destination(0, 1, buffer=ROOM, offset=-1),
    "behind the buffer": Destination(0, 1, buffer=ROOM, offset=SIZE),
    "larger than the buffer": Destination(0, SIZE, buffer=bytearray(SIZE - 1)),
    "an offset no file has": Destination(0, 1, fd=0, offset=1 << 62),
    "no target": Destination(0, 1),
    "two targets": Destination(0, 1, fd=0, buffer=ROOM),
    "an impossible fd": Destination(0, 1, fd=-1),
}


@pytest.mark.parametrize(("case", "match"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_that_does_not_fit(backend: Any, case: Sealed, match: str) -> None:
    message = backend.Message.of(KEY, SMALL.header, CONTEXT)
    not_begun(ValueError, match, backend, case=case, message=message)


def test_a_tree_over_another_length(backend: Any) -> None:
    other = tamper(SMALL, lambda data: data + bytes(PAGE))
    tree = backend.TrustedTree.load(other.tree.area, len(other.data), other.tree.root)
    not_begun(ValueError, "tree covers", backend, tree=tree)


@pytest.mark.parametrize("payload_bytes", [-100, 0, HEADER + 15, HEADER + SEALED_CHUNK])
def test_a_length_no_message_has(backend: Any, payload_bytes: int) -> None:
    pages = -(-(START + payload_bytes) // PAGE)
    case = around(SMALL.data[: pages * PAGE], b"", START, payload_bytes)
    not_begun(FormatError, "no message", backend, case=case)


@pytest.mark.parametrize("threads", [-1, 0, 65])
def test_a_number_of_threads_that_cannot_be(backend: Any, threads: int) -> None:
    not_begun(ValueError, "threads", backend, threads=threads)


def test_a_message_that_was_wiped(backend: Any) -> None:
    message = backend.Message.of(KEY, SMALL.header, CONTEXT)
    message.wipe()
    not_begun(ValueError, "wiped", backend, message=message)


@pytest.mark.parametrize("name", ["tree", "message"])
def test_neither_tree_nor_message_can_be_left_out(name: str) -> None:
    """They come from checks of their own; there is no load without them."""
    tree = NATIVE.TrustedTree.load(SMALL.tree.area, len(SMALL.data), SMALL.tree.root)
    message = NATIVE.Message.of(KEY, SMALL.header, CONTEXT)
    given = {**SMALL.layout, "tree": tree, "message": message, "destinations": [], name: None}
    with pytest.raises(TypeError, match=name):
        NATIVE.load(-1, **given)


@pytest.mark.parametrize("destination", MISPLACED.values(), ids=MISPLACED)
def test_a_destination_that_does_not_fit(backend: Any, destination: Destination) -> None:
    not_begun(ValueError, "destination|buffer|fd", backend, destination)


@pytest.mark.parametrize(
    "buffer",
    [bytes(100), memoryview(bytearray(200))[::2]],
    ids=["read-only", "not contiguous"],
)
def test_a_buffer_that_cannot_be_filled(backend: Any, buffer: Any) -> None:
    not_begun(BufferError, "writable|contiguous", backend, Destination(0, 100, buffer=buffer))
