"""What test_bad_luck.py runs: reading, writing, threads and memory of a system at its worst."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sealserve.native import verity
from sealserve.native.cobblestone import Message
from sealserve.native.destination import Destination
from sealserve.native.secret import SecretBuffer
from support.native_backends import NATIVE
from support.native_loading import UNIT_PLAIN, Landing, content_of, load, memory_file
from support.native_sealed import CONTEXT, KEY, Sealed, sealed

CHUNK, PAGE, DIGEST = 16384, 4096, 32
SMALL = sealed(5 * CHUNK + 100)
LARGE = sealed(2 * UNIT_PLAIN + 100)
READING = ("read-short", "read-interrupted")
WRITING = ("write-short", "write-interrupted")
Unluck = Callable[[str], None]


@pytest.fixture
def unluck() -> Iterator[Unluck]:
    library = ctypes.CDLL(None)
    yield lambda kind: library.unluck(kind.encode())
    library.unluck(b"")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[int]:
    fd = SMALL.write(tmp_path / "small")
    yield fd
    os.close(fd)


@pytest.fixture
def large(tmp_path: Path) -> Iterator[int]:
    fd = LARGE.write(tmp_path / "large")
    yield fd
    os.close(fd)


# ---- what a system may do, and nobody notices


@pytest.mark.parametrize("kind", READING + WRITING)
def test_a_load_arrives_whole(backend: Any, unluck: Unluck, small: int, kind: str) -> None:
    landing = Landing(len(SMALL.plain))
    with memory_file() as file:
        unluck(kind)
        load(
            backend, SMALL, small, [landing.destination, Destination(7, len(SMALL.plain) - 7, file)]
        )
        unluck("")
        assert content_of(file) == SMALL.plain[7:]
    assert landing.landed == SMALL.plain


@pytest.mark.parametrize("kind", ["map-fails", "populate-fails"])
def test_a_load_needs_no_second_view_of_its_file(unluck: Unluck, large: int, kind: str) -> None:
    landing = Landing(len(LARGE.plain))
    unluck(kind)
    load(NATIVE, LARGE, large, [landing.destination])
    unluck("")
    assert landing.landed == LARGE.plain


@pytest.mark.parametrize(
    "kind", ["map-fails", "populate-fails", "advice-fails", *READING, "read-fails=70000",
             "thread-fails=0", "thread-fails=1"],
)  # fmt: skip
def test_a_copy_needs_no_luck(unluck: Unluck, large: int, kind: str) -> None:
    """What it could not get is left to the load, and everything arrives."""
    landing = Landing(len(LARGE.plain))
    tree = verity.TrustedTree.load(LARGE.tree.area, len(LARGE.data), LARGE.tree.root)
    unluck(kind)
    with NATIVE.CheckedCopy(large, **LARGE.layout, tree=tree) as copy:
        time.sleep(0.05)
        unluck("")
        load(NATIVE, LARGE, large, [landing.destination], tree=tree, checked=copy)
    assert landing.landed == LARGE.plain


@pytest.mark.parametrize("kind", READING)
def test_a_range_arrives_whole(backend: Any, unluck: Unluck, small: int, kind: str) -> None:
    tree = backend.TrustedTree.load(SMALL.tree.area, len(SMALL.data), SMALL.tree.root)
    out = bytearray(3 * CHUNK)
    unluck(kind)
    with backend.Message.of(KEY, SMALL.header, CONTEXT) as message:
        ranges = backend.Ranges(small, **SMALL.layout, tree=tree, message=message)
        ranges.read_into(CHUNK - 1, out)
    assert out == SMALL.plain[CHUNK - 1 :][: 3 * CHUNK]


@pytest.mark.parametrize("kind", WRITING)
def test_a_unit_is_written_whole(backend: Any, unluck: Unluck, kind: str) -> None:
    plain, message = SMALL.plain, backend.Message.new(KEY, CONTEXT)
    pages = backend.pages_of(len(plain), last=True)
    digests = bytearray(pages * DIGEST)
    with memory_file() as file:
        unluck(kind)
        assert backend.seal_unit(file, 0, message, 0, plain, digests, last=True) == pages
        unluck("")
        written = content_of(file)
    assert digests == verity.digests_of(written)
    opened, size = bytearray(len(plain)), len(plain) + 6 * 16
    Message.of(KEY, message.header, CONTEXT).open_into(0, written[:size], opened, last=True)
    assert opened == plain


# ---- what ends it: nothing stays


def given_up(
    unluck: Unluck, kind: str, fd: int, case: Sealed, backend: Any = NATIVE, **options: Any
) -> OSError:
    """The error of a load into memory and a file, both of which are wiped."""
    landing = Landing(len(case.plain))
    with memory_file(b"before") as file:
        destinations = [landing.destination, Destination(0, len(case.plain), fd=file)]
        unluck(kind)
        with pytest.raises(OSError, match=r".") as caught:
            load(backend, case, fd, destinations, **options)
        unluck("")
        assert content_of(file) == b""
    assert landing.landed == bytes(landing.size)
    return caught.value


@pytest.mark.parametrize("moved", [0, 1, PAGE, 70_000])
def test_a_file_that_fails_while_it_is_read(
    backend: Any, unluck: Unluck, small: int, moved: int
) -> None:
    error = given_up(unluck, f"read-fails={moved}", small, SMALL, backend)
    assert error.errno == errno.EIO


@pytest.mark.parametrize("moved", [0, 1, 70_000])
def test_a_file_that_fails_while_it_is_written(
    backend: Any, unluck: Unluck, small: int, moved: int
) -> None:
    error = given_up(unluck, f"write-fails={moved}", small, SMALL, backend)
    assert error.errno == errno.EIO


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", ["read-fails", "write-fails"])
def test_one_thread_fails_while_others_run(
    unluck: Unluck, large: int, kind: str, threads: int
) -> None:
    error = given_up(unluck, f"{kind}={UNIT_PLAIN}", large, LARGE, threads=threads)
    assert error.errno == errno.EIO


def test_a_file_that_takes_nothing(unluck: Unluck, small: int) -> None:
    """POSIX lets pwrite return 0; asking again and again would never end."""
    error = given_up(unluck, "write-nothing", small, SMALL)
    assert error.errno == errno.EIO
    assert "cannot write plaintext" in str(error)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_thread_that_does_not_start(unluck: Unluck, large: int, number: int) -> None:
    error = given_up(unluck, f"thread-fails={number}", large, LARGE, threads=3)
    assert error.errno == errno.EAGAIN
    assert "cannot start a thread" in str(error)
    landing = Landing(len(LARGE.plain))
    load(NATIVE, LARGE, large, [landing.destination], threads=3)
    assert landing.landed == LARGE.plain


@pytest.mark.parametrize("kind", ["write-fails=0", "write-fails=20000", "write-nothing"])
def test_a_unit_that_cannot_be_written(unluck: Unluck, kind: str) -> None:
    message = Message.new(KEY, CONTEXT)
    pages = NATIVE.pages_of(UNIT_PLAIN, last=False)
    with memory_file() as file:
        unluck(kind)
        with pytest.raises(OSError, match="cannot write the sealed payload") as caught:
            NATIVE.seal_unit(
                file, 0, message, 0, bytes(UNIT_PLAIN), bytearray(pages * DIGEST), last=False
            )
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("moved", [PAGE, PAGE + 1, 3 * PAGE])
def test_a_range_that_cannot_be_read(backend: Any, unluck: Unluck, small: int, moved: int) -> None:
    """The page with the header can; what lies in `out` is zeroed and the next one arrives."""
    tree = backend.TrustedTree.load(SMALL.tree.area, len(SMALL.data), SMALL.tree.root)
    out = bytearray(b"\xaa" * 100)
    with backend.Message.of(KEY, SMALL.header, CONTEXT) as message:
        unluck(f"read-fails={moved}")
        ranges = backend.Ranges(small, **SMALL.layout, tree=tree, message=message)
        with pytest.raises(OSError, match=r".") as caught:
            ranges.read_into(CHUNK, out)
        assert (caught.value.errno, out) == (errno.EIO, bytes(100))
        unluck("")
        ranges.read_into(CHUNK, out)
    assert out == SMALL.plain[CHUNK : CHUNK + 100]


def test_secrets_that_cannot_be_kept_to_this_process(unluck: Unluck) -> None:
    unluck("advice-fails")
    with pytest.raises(OSError, match="cannot keep secrets to this process"):
        SecretBuffer(1)
    unluck("")
    assert bytes(SecretBuffer(1)) == b"\0"
