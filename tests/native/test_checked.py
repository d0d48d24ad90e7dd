"""A copy that is checked before there is a key: what is opened from it, and what it leaves."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sealserve.native.destination import MAX_THREADS, Destination
from sealserve.native.errors import FormatError, IntegrityError
from support.native_backends import NATIVE
from support.native_loading import (
    ENDS,
    UNIT_PLAIN,
    Landing,
    bytes_read,
    content_of,
    load,
    memory_file,
)
from support.native_sealed import Sealed, around, sealed

CHUNK, PAGE = 16384, 4096
LENGTHS = [0, 1, *(end + near for end in ENDS for near in (-1, 0, 1)), 2 * UNIT_PLAIN + 12345]
SMALL = sealed(2 * CHUNK + 100)
LARGE = sealed(8 * UNIT_PLAIN)
BODY = SMALL.payload_offset + 56
LAST = len(LARGE.data) - PAGE  # where the last page begins, which is a unit of its own
WAIT_SECONDS = 60.0  # whatever else runs goes first


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., int]]:
    with ExitStack() as stack:

        def write(case: Sealed, data: bytes | None = None) -> int:
            fd = case.write(tmp_path / "sealed", data)
            stack.callback(os.close, fd)
            return fd

        yield write


def tree_of(backend: Any, case: Sealed) -> Any:
    return backend.TrustedTree.load(case.tree.area, len(case.data), case.tree.root)


@contextmanager
def copy_of(
    backend: Any, case: Sealed, fd: int, *, missing: int = 0, **options: Any
) -> Iterator[tuple[Any, Any]]:
    """A tree and a copy, once all of it is there but so many bytes at the end."""
    tree = tree_of(backend, case)
    with backend.CheckedCopy(fd, **case.layout, tree=tree, **options) as copy:
        until_there(copy, len(case.data) - case.payload_offset - 56 - missing)
        yield tree, copy


def until_there(copy: Any, size: int) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while copy.checked_bytes < size:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert copy.checked_bytes == size


def threads() -> set[int]:
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def rewrite(fd: int, at: int, data: bytes = b"", size: int | None = None) -> None:
    """Change or cut a file that is open for reading."""
    with Path(f"/proc/self/fd/{fd}").open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), data, at)
        if size is not None:
            os.ftruncate(file.fileno(), size)


# ---- what is opened from it


@pytest.mark.parametrize("size", LENGTHS)
def test_every_length_arrives_whole(backend: Any, opened: Callable[..., int], size: int) -> None:
    case, landing = sealed(size), Landing(size)
    fd = opened(case)
    with copy_of(backend, case, fd) as (tree, copy):
        load(backend, case, fd, [landing.destination], tree=tree, checked=copy)
    assert landing.landed == case.plain


@pytest.mark.parametrize("number", [1, 2, 3, MAX_THREADS])
def test_any_number_of_threads(opened: Callable[..., int], number: int) -> None:
    fd, landing = opened(LARGE), Landing(len(LARGE.plain))
    with copy_of(NATIVE, LARGE, fd, threads=number) as (tree, copy):
        load(NATIVE, LARGE, fd, [landing.destination], tree=tree, checked=copy, threads=number)
    assert landing.landed == LARGE.plain


def test_a_file_that_changes_after_it_was_checked(backend: Any, opened: Callable[..., int]) -> None:
    """What was checked is what is opened: not a byte of it is read again."""
    fd, landing = opened(LARGE), Landing(len(LARGE.plain))
    with copy_of(backend, LARGE, fd) as (tree, copy):
        rewrite(fd, BODY, os.urandom(len(LARGE.data) - BODY))
        load(backend, LARGE, fd, [landing.destination], tree=tree, checked=copy)
    assert landing.landed == LARGE.plain


def test_a_file_that_is_cut_after_it_was_checked(backend: Any, opened: Callable[..., int]) -> None:
    fd, landing = opened(LARGE), Landing(len(LARGE.plain))
    with copy_of(backend, LARGE, fd) as (tree, copy):
        rewrite(fd, 0, size=BODY)
        load(backend, LARGE, fd, [landing.destination], tree=tree, checked=copy)
    assert landing.landed == LARGE.plain


def test_what_is_not_there_is_read(backend: Any, opened: Callable[..., int]) -> None:
    """Here its last page, which was not in the file before."""
    fd, landing = opened(LARGE, LARGE.data[:LAST]), Landing(len(LARGE.plain))
    with copy_of(backend, LARGE, fd, missing=PAGE, threads=1) as (tree, copy):
        rewrite(fd, LAST, LARGE.data[LAST:])
        load(backend, LARGE, fd, [landing.destination], tree=tree, checked=copy)
    assert landing.landed == LARGE.plain


def test_a_load_that_begins_at_once(opened: Callable[..., int]) -> None:
    """Whatever is there by then: a unit that is half there is read again."""
    fd, landing = opened(LARGE), Landing(len(LARGE.plain))
    tree = tree_of(NATIVE, LARGE)
    with NATIVE.CheckedCopy(fd, **LARGE.layout, tree=tree) as copy:
        load(NATIVE, LARGE, fd, [landing.destination], tree=tree, checked=copy)
    assert landing.landed == LARGE.plain


def test_nothing_is_read_twice(opened: Callable[..., int]) -> None:
    fd, before = opened(LARGE), bytes_read()
    with copy_of(NATIVE, LARGE, fd) as (tree, copy):
        load(NATIVE, LARGE, fd, [], tree=tree, checked=copy)
    read = bytes_read() - before
    assert len(LARGE.data) <= read < len(LARGE.data) + 100_000


# ---- what is refused


def refused(
    error: type[Exception], match: str, backend: Any, case: Sealed, fd: int, missing: int
) -> None:
    """It raises this, and what was delivered is wiped."""
    landing = Landing(len(case.plain))
    with (
        memory_file(b"before") as file,
        copy_of(backend, case, fd, missing=missing) as (tree, copy),
    ):
        destinations = [landing.destination, Destination(0, 1, fd=file)]
        with pytest.raises(error, match=match):
            load(backend, case, fd, destinations, tree=tree, checked=copy)
        assert content_of(file) == b""
    assert landing.landed == bytes(landing.size)


@pytest.mark.parametrize("at", [BODY, BODY + CHUNK, len(SMALL.data) - 1])
def test_a_leaf_that_differs(backend: Any, opened: Callable[..., int], at: int) -> None:
    fd = opened(SMALL, changed(SMALL.data, at))
    match = f"block {at // PAGE} is not the one"
    refused(IntegrityError, match, backend, SMALL, fd, missing=len(SMALL.data) - BODY)


@pytest.mark.parametrize("size", [0, BODY, BODY + CHUNK, len(SMALL.data) - 1])
def test_a_file_that_is_too_short(backend: Any, opened: Callable[..., int], size: int) -> None:
    fd = opened(SMALL, SMALL.data[:size])
    refused(IntegrityError, "ends at", backend, SMALL, fd, missing=len(SMALL.data) - BODY)


@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("byte", [0, -1])
def test_a_tag_that_differs(
    backend: Any, opened: Callable[..., int], chunk: int, byte: int
) -> None:
    """Under an honest tree over it, so that it is there."""
    ends = [BODY + CHUNK + 16, BODY + 2 * (CHUNK + 16), BODY + 2 * (CHUNK + 16) + 116]
    at = ends[chunk] - (16 if byte == 0 else 1)
    data = changed(SMALL.data, at)
    case = around(data, SMALL.plain, SMALL.payload_offset, SMALL.payload_bytes)
    match = f"chunk {chunk} does not authenticate" if backend is NATIVE else "authenticate"
    refused(IntegrityError, match, backend, case, opened(case), missing=0)


def test_padding_that_is_not_zero(backend: Any, opened: Callable[..., int]) -> None:
    data = changed(SMALL.data, len(SMALL.data) - 1)
    case = around(data, SMALL.plain, SMALL.payload_offset, SMALL.payload_bytes)
    refused(FormatError, "not zero", backend, case, opened(case), missing=0)


def test_a_copy_of_something_else(backend: Any, opened: Callable[..., int]) -> None:
    """Of another payload, or checked with a tree that this load did not say."""
    other = sealed(len(SMALL.plain))
    fd = opened(SMALL)
    with copy_of(backend, SMALL, fd) as (tree, copy):
        area = bytearray(SMALL.tree.area)
        same = backend.TrustedTree.load(area, len(SMALL.data), SMALL.tree.root)
        for case, given in ((other, tree_of(backend, other)), (SMALL, same)):
            with pytest.raises(ValueError, match="of another payload"):
                load(backend, case, fd, [], tree=given, checked=copy)
        shorter = {"payload_bytes": SMALL.payload_bytes - 1}
        with pytest.raises(ValueError, match="of another payload"):
            load(backend, SMALL, fd, [], tree=tree, checked=copy, **shorter)


def test_a_copy_is_for_one_load(backend: Any, opened: Callable[..., int]) -> None:
    fd = opened(SMALL)
    with copy_of(backend, SMALL, fd) as (tree, copy):
        load(backend, SMALL, fd, [], tree=tree, checked=copy)
        with pytest.raises(ValueError, match="has had this copy"):
            load(backend, SMALL, fd, [], tree=tree, checked=copy)


def test_a_copy_that_is_closed(backend: Any, opened: Callable[..., int]) -> None:
    fd = opened(SMALL)
    with copy_of(backend, SMALL, fd) as (tree, copy):
        copy.close()
        with pytest.raises(ValueError, match="closed"):
            load(backend, SMALL, fd, [], tree=tree, checked=copy)


def test_a_copy_is_not_closed_under_a_load(backend: Any, opened: Callable[..., int]) -> None:
    fd, landing = opened(SMALL), Landing(len(SMALL.plain))

    def close(_done: int, _total: int) -> None:
        with pytest.raises(ValueError, match="a load is using this copy"):
            copy.close()

    with copy_of(backend, SMALL, fd) as (tree, copy):
        destinations = [landing.destination]
        load(backend, SMALL, fd, destinations, tree=tree, checked=copy, progress=close)
    assert landing.landed == SMALL.plain


WRONG: dict[str, tuple[type[Exception], dict[str, int]]] = {
    "no thread": (ValueError, {"threads": 0}),
    "too many threads": (ValueError, {"threads": MAX_THREADS + 1}),
    "no page": (ValueError, {"payload_offset": SMALL.payload_offset + 1}),
    "another tree's length": (ValueError, {"data_bytes": len(SMALL.data) + PAGE}),
    "no message": (FormatError, {"payload_bytes": 1}),
    "no descriptor": (ValueError, {"fd": 1 << 31}),
}


@pytest.mark.parametrize(("error", "wrong"), WRONG.values(), ids=WRONG)
def test_arguments_that_do_not_fit(
    backend: Any, error: type[Exception], wrong: dict[str, int]
) -> None:
    given = {"fd": -1, **SMALL.layout, **wrong}
    with pytest.raises(error):
        backend.CheckedCopy(**given, tree=tree_of(backend, SMALL))


# ---- what it leaves, and whom it lets go first


@pytest.mark.parametrize("wait", [True, False])
def test_nothing_is_left_of_it(opened: Callable[..., int], *, wait: bool) -> None:
    fd, before = opened(LARGE), threads()
    with NATIVE.CheckedCopy(fd, **LARGE.layout, tree=tree_of(NATIVE, LARGE)) as copy:
        if wait:
            until_there(copy, len(LARGE.data) - BODY)
    end = time.monotonic() + 1  # one that was joined may be listed a moment more
    while threads() - before and time.monotonic() < end:
        time.sleep(0.001)
    assert not threads() - before


def test_its_memory_is_given_back_while_it_is_opened(opened: Callable[..., int]) -> None:
    fd, held = opened(LARGE), [0, 0]

    def resident(done: int, total: int) -> None:
        held[done == total] = int(Path("/proc/self/statm").read_text().split()[1])

    with copy_of(NATIVE, LARGE, fd) as (tree, copy):
        load(NATIVE, LARGE, fd, [], tree=tree, checked=copy, threads=1, progress=resident)
        given_back = (held[0] - held[1]) * resource.getpagesize()
    assert given_back > len(LARGE.data) // 2


def test_a_file_that_cannot_be_read_leaves_it_empty(backend: Any) -> None:
    missing = len(SMALL.data) - BODY
    with (
        copy_of(backend, SMALL, -1, missing=missing) as (tree, copy),
        pytest.raises(OSError, match=r"cannot read|Bad file"),
    ):
        load(backend, SMALL, -1, [], tree=tree, checked=copy)


def test_it_goes_behind_everybody_else(opened: Callable[..., int]) -> None:
    """Its threads are the last in line (nice 19); those of a load, and this one, are not."""
    fd, before, seen = opened(LARGE), threads(), set()
    end = time.monotonic() + WAIT_SECONDS
    while 19 not in seen:
        assert time.monotonic() < end
        with NATIVE.CheckedCopy(fd, **LARGE.layout, tree=tree_of(NATIVE, LARGE)):
            for thread in threads() - before:
                try:
                    seen.add(os.getpriority(os.PRIO_PROCESS, thread))
                except ProcessLookupError:  # it has ended
                    continue
    assert os.getpriority(os.PRIO_PROCESS, 0) < 19


def test_a_forked_child_leaves_it_alone(opened: Callable[..., int]) -> None:
    """Its threads stayed behind: to wait for them would take for ever."""
    fd, landing = opened(LARGE), Landing(len(LARGE.plain))
    with copy_of(NATIVE, LARGE, fd) as (tree, copy):
        child = os.fork()
        if child == 0:
            copy.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        load(NATIVE, LARGE, fd, [landing.destination], tree=tree, checked=copy)
    assert landing.landed == LARGE.plain


SCARCE = """
import resource, sys, time
from pathlib import Path
from support.native_backends import NATIVE
from support.native_loading import Landing, load
from support.native_sealed import sealed

case = sealed(64 * 2**20)
fd = case.write(Path(sys.argv[1]))
tree = NATIVE.TrustedTree.load(case.tree.area, len(case.data), case.tree.root)
landing = Landing(len(case.plain))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + 32 * 2**20, before[1]))
with NATIVE.CheckedCopy(fd, **case.layout, tree=tree) as copy:
    resource.setrlimit(resource.RLIMIT_AS, before)
    time.sleep(0.2)
    empty = copy.checked_bytes == 0
    load(NATIVE, case, fd, [landing.destination], tree=tree, checked=copy)
print(empty, landing.landed == case.plain)
"""


def test_no_room_for_it(tmp_path: Path) -> None:
    """It stays empty, and everything is read when there is a key."""
    ran = subprocess.run(
        [sys.executable, "-c", SCARCE, str(tmp_path / "sealed")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "True True"
