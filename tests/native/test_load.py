"""What a load delivers, to where, and what it lets the caller do meanwhile."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native import cobblestone, verity
from sealserve.native.destination import Cancelled, Destination
from sealserve.native.secret import SecretBuffer
from support.native_backends import NATIVE
from support.native_loading import (
    ENDS,
    UNIT_PLAIN,
    Landing,
    being_delivered,
    bytes_read,
    content_of,
    load,
    memory_file,
)
from support.native_sealed import CONTEXT, KEY, Sealed, sealed

CHUNK, PAGE = 16384, 4096
FAR = 1 << 20  # native/payload.pyx: from this size on, a destination is written past the cache
LENGTHS = [0, 1, *(end + near for end in ENDS for near in (-1, 0, 1)), 2 * UNIT_PLAIN + 12345]
TWO_UNITS = sealed(UNIT_PLAIN + 100_000)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[Sealed], int]]:
    with ExitStack() as stack:

        def write(case: Sealed) -> int:
            fd = case.write(tmp_path / "sealed")
            stack.callback(os.close, fd)
            return fd

        yield write


@pytest.fixture(scope="module")
def two_units(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    fd = TWO_UNITS.write(tmp_path_factory.mktemp("load") / "sealed")
    yield fd
    os.close(fd)


# ---- what arrives


@pytest.mark.parametrize("size", LENGTHS)
def test_every_length_arrives_whole(
    backend: Any, opened: Callable[[Sealed], int], size: int
) -> None:
    case, landing = sealed(size), Landing(size)
    load(backend, case, opened(case), [landing.destination])
    assert landing.landed == case.plain


@pytest.mark.parametrize("pages", [1, 2, 1025, 1026, 2051])
def test_whatever_stands_before_the_message(
    backend: Any, opened: Callable[[Sealed], int], pages: int
) -> None:
    case, landing = sealed(100, header_pages=pages), Landing(100)
    load(backend, case, opened(case), [landing.destination])
    assert landing.landed == case.plain


def test_what_stands_behind_the_tree_s_data_is_not_looked_at(backend: Any, tmp_path: Path) -> None:
    case, landing = sealed(100), Landing(100)
    fd = case.write(tmp_path / "sealed", case.data + os.urandom(5000))
    load(backend, case, fd, [landing.destination])
    os.close(fd)
    assert landing.landed == case.plain


def test_a_forked_child_loads_what_its_parent_loaded(two_units: int) -> None:
    """With a message of its own: its parent's is not there. It shares the file, not a position."""
    tree = verity.TrustedTree.load(TWO_UNITS.tree.area, len(TWO_UNITS.data), TWO_UNITS.tree.root)
    message = cobblestone.Message.of(KEY, TWO_UNITS.header, CONTEXT)
    landing = Landing(len(TWO_UNITS.plain))
    load(NATIVE, TWO_UNITS, two_units, [landing.destination], tree=tree)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            own, beside = Landing(landing.size), Landing(landing.size)
            load(NATIVE, TWO_UNITS, two_units, [own.destination], tree=tree)
            with pytest.raises(RuntimeError, match="stayed in the process"):
                load(NATIVE, TWO_UNITS, two_units, [beside.destination], tree=tree, message=message)
            status = int(own.landed != TWO_UNITS.plain or not beside.untouched)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert landing.landed == TWO_UNITS.plain


SCARCE = """
import resource, sys
from pathlib import Path
from support.native_backends import NATIVE
from support.native_loading import Landing, load
from support.native_sealed import sealed

case = sealed(8 * 4 * 2**20)
fd = case.write(Path(sys.argv[1]))
landing = Landing(len(case.plain))
load(NATIVE, case, fd, [landing.destination], threads=1)
assert landing.landed == case.plain
landing = Landing(len(case.plain))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 2**20, before[1]))
try:
    load(NATIVE, case, fd, [landing.destination], threads=8)
except (MemoryError, OSError) as error:
    resource.setrlimit(resource.RLIMIT_AS, before)
    print(type(error).__name__, landing.untouched, landing.landed == bytes(landing.size))
"""


@pytest.mark.parametrize(
    ("mebibytes", "came"),
    [(1, "MemoryError True False"), (8, "BlockingIOError False True")],
    ids=["no room for buffers", "no room for threads"],
)
def test_no_memory_for_a_load(tmp_path: Path, mebibytes: int, came: str) -> None:
    """Eight threads take 3.4 MiB of buffers, and 2 MiB or more for the stack of each."""
    path = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", SCARCE, str(tmp_path / "sealed"), str(mebibytes)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == came


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_any_number_of_threads(backend: Any, two_units: int, threads: int) -> None:
    landing = Landing(len(TWO_UNITS.plain))
    load(backend, TWO_UNITS, two_units, [landing.destination], threads=threads)
    assert landing.landed == TWO_UNITS.plain


def test_every_byte_is_read_once(two_units: int) -> None:
    before = bytes_read()
    load(NATIVE, TWO_UNITS, two_units, [Landing(len(TWO_UNITS.plain)).destination])
    read = bytes_read() - before
    assert len(TWO_UNITS.data) <= read < len(TWO_UNITS.data) + 100_000


def test_two_loads_at_once_from_one_tree_and_message(two_units: int) -> None:
    tree = verity.TrustedTree.load(TWO_UNITS.tree.area, len(TWO_UNITS.data), TWO_UNITS.tree.root)
    message = cobblestone.Message.of(KEY, TWO_UNITS.header, CONTEXT)
    landings = [Landing(len(TWO_UNITS.plain)) for _ in range(4)]

    def one(landing: Landing) -> None:
        NATIVE.load(
            two_units,
            **TWO_UNITS.layout,
            tree=tree,
            message=message,
            destinations=[landing.destination],
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, landings))
    assert all(landing.landed == TWO_UNITS.plain for landing in landings)


# ---- where it arrives

PIECES: dict[str, list[tuple[int, int]]] = {
    "none": [],
    "no bytes": [(0, 0), (len(TWO_UNITS.plain), 0)],
    "the first and the last byte": [(0, 1), (len(TWO_UNITS.plain) - 1, 1)],
    "gaps inside a chunk": [(10, 20), (50, 1), (100, 300)],
    "across chunks": [(CHUNK - 1, 2), (5 * CHUNK - 7, 3 * CHUNK)],
    "across units": [(UNIT_PLAIN - 9, 18)],
    "one behind the other": [(0, UNIT_PLAIN + 5), (UNIT_PLAIN + 5, 99_995)],
    "backwards": [(UNIT_PLAIN + 5, 99_995), (0, UNIT_PLAIN + 5)],
    "overlapping": [(0, UNIT_PLAIN + 9), (CHUNK, UNIT_PLAIN), (CHUNK, UNIT_PLAIN)],
}


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_pieces_into_buffers(backend: Any, two_units: int, pieces: list[tuple[int, int]]) -> None:
    landings = [Landing(size, start) for start, size in pieces]
    load(backend, TWO_UNITS, two_units, [landing.destination for landing in landings])
    seen = [landing.landed for landing in landings]
    assert seen == [TWO_UNITS.plain[start : start + size] for start, size in pieces]


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_pieces_into_files(backend: Any, two_units: int, pieces: list[tuple[int, int]]) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(memory_file(b"before")) for _ in pieces]
        destinations = [
            Destination(start, size, fd=fd, offset=3)
            for fd, (start, size) in zip(files, pieces, strict=True)
        ]
        load(backend, TWO_UNITS, two_units, destinations)
        seen = [content_of(fd) for fd in files]
    wanted = [TWO_UNITS.plain[start : start + size] for start, size in pieces]
    assert seen == [b"bef" + piece + b"before"[3 + len(piece) :] for piece in wanted]


@pytest.mark.parametrize("at", [0, 1, 15, 16, 48, 63, 64])
@pytest.mark.parametrize("start", [0, 1, 63])
def test_large_pieces_at_every_kind_of_place(two_units: int, start: int, at: int) -> None:
    """What goes past the cache goes in lines of 64 bytes, and neither end has to be one's."""
    size, memory = FAR + 100, mmap.mmap(-1, FAR + 4096)
    destination = Destination(start, size, buffer=memory, offset=at)
    load(NATIVE, TWO_UNITS, two_units, [destination])
    assert memory[at : at + size] == TWO_UNITS.plain[start : start + size]
    assert not any(memory[:at] + memory[at + size :])


def test_no_mapping_of_the_file_stays(two_units: int) -> None:
    landing = Landing(100)
    load(NATIVE, TWO_UNITS, two_units, [landing.destination])
    assert (
        str(Path(f"/proc/self/fd/{two_units}").readlink())
        not in Path("/proc/self/maps").read_text()
    )


@given(
    st.lists(st.tuples(st.integers(0, UNIT_PLAIN + 100_000), st.integers(0, 40_000)), max_size=5)
)
def test_any_pieces(two_units: int, wanted: list[tuple[int, int]]) -> None:
    pieces = [TWO_UNITS.plain[start : start + size] for start, size in wanted]
    landings = [
        Landing(len(piece), start) for piece, (start, _) in zip(pieces, wanted, strict=True)
    ]
    load(NATIVE, TWO_UNITS, two_units, [landing.destination for landing in landings])
    assert [landing.landed for landing in landings] == pieces


BUFFERS: dict[str, Callable[[int], Any]] = {
    "bytearray": bytearray,
    "part of another": lambda size: memoryview(bytearray(size + 100))[50:-50],
    "floats": lambda size: numpy.zeros(size // 4, dtype="f4"),
    "secret memory": SecretBuffer,
    "a mapping": lambda size: mmap.mmap(-1, size),
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_every_kind_of_buffer(backend: Any, opened: Callable[[Sealed], int], kind: str) -> None:
    case = sealed(3 * CHUNK)
    buffer = BUFFERS[kind](3 * CHUNK)
    load(backend, case, opened(case), [Destination(0, 3 * CHUNK, buffer=buffer)])
    assert bytes(memoryview(buffer)) == case.plain


# ---- what the caller sees meanwhile


def test_progress_begins_at_nothing_and_ends_at_all(backend: Any, two_units: int) -> None:
    seen: list[tuple[int, int]] = []
    callers = set()

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        callers.add(threading.get_ident())

    load(backend, TWO_UNITS, two_units, [], progress=progress)
    total = len(TWO_UNITS.data)
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)
    assert callers == {threading.get_ident()}


def test_progress_is_told_every_tick(two_units: int, slow: list[Destination]) -> None:
    seen: list[int] = []
    load(NATIVE, TWO_UNITS, two_units, slow, threads=1, progress=lambda done, _: seen.append(done))
    assert PAGE in seen[1:-1]  # the page of the header, while the first unit is delivered


def test_other_python_threads_run_on(two_units: int, slow: list[Destination]) -> None:
    turns: list[int] = []
    seen: list[int] = []
    enough = threading.Event()

    def turn() -> None:
        while not enough.wait(0.001):
            turns.append(0)

    other = threading.Thread(target=turn)
    other.start()
    try:
        load(NATIVE, TWO_UNITS, two_units, slow, progress=lambda *_: seen.append(len(turns)))
    finally:
        enough.set()
        other.join()
    assert seen[-1] - seen[0] > 5  # a turn takes a millisecond, the load a hundred


def test_a_buffer_keeps_its_size_meanwhile(two_units: int) -> None:
    buffer = bytearray(100)

    def grow(_done: int, _total: int) -> None:
        with pytest.raises(BufferError):
            buffer.append(0)

    load(NATIVE, TWO_UNITS, two_units, [Destination(0, 100, buffer=buffer)], progress=grow)
    buffer.append(0)


def test_a_message_wiped_meanwhile(two_units: int) -> None:
    tree = verity.TrustedTree.load(TWO_UNITS.tree.area, len(TWO_UNITS.data), TWO_UNITS.tree.root)
    message = cobblestone.Message.of(KEY, TWO_UNITS.header, CONTEXT)
    landing = Landing(len(TWO_UNITS.plain))
    NATIVE.load(
        two_units,
        **TWO_UNITS.layout,
        tree=tree,
        message=message,
        destinations=[landing.destination],
        progress=lambda _done, _total: message.wipe(),
    )
    assert landing.landed == TWO_UNITS.plain


# ---- what ends it early


class GiveUpError(Exception):
    """What a callback or a signal of these tests raises."""


def give_up(*_: object) -> bool:
    raise GiveUpError


Options = dict[str, Callable[..., Any]]
ENDINGS: dict[str, tuple[type[Exception], Callable[[Callable[[], bool]], Options]]] = {
    "cancelled": (Cancelled, lambda now: {"cancelled": now}),
    "cancelled raises": (GiveUpError, lambda now: {"cancelled": lambda: now() and give_up()}),
    "progress raises": (GiveUpError, lambda now: {"progress": lambda *_: now() and give_up()}),
}


def threads_running() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def assert_threads_running(wanted: int) -> None:
    """A thread that was joined may be listed for a moment more, also one of an earlier test."""
    deadline = time.monotonic() + 1
    while threads_running() > wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads_running() <= wanted


def assert_nothing_stays(
    error: type[Exception] | tuple[type[BaseException], ...],
    backend: Any,
    fd: int,
    *more: Destination,
    **options: Any,
) -> None:
    """It raises; what was delivered is wiped, also from files, and no thread is left."""
    landing, threads = Landing(len(TWO_UNITS.plain)), threads_running()
    with memory_file(b"before") as file:
        destinations = [landing.destination, Destination(0, 5, fd=file), *more]
        with pytest.raises(error):
            load(backend, TWO_UNITS, fd, destinations, **options)
        assert content_of(file) == b""
    assert landing.landed == bytes(landing.size)
    assert_threads_running(threads)


@pytest.mark.parametrize(("error", "options"), ENDINGS.values(), ids=ENDINGS)
def test_ended_before_the_first_byte(
    backend: Any, error: type[Exception], options: Callable[[Callable[[], bool]], Options]
) -> None:
    """Reading would be an OSError: there is no file."""
    assert_nothing_stays(error, backend, -1, **options(lambda: True))


@pytest.mark.parametrize(("error", "options"), ENDINGS.values(), ids=ENDINGS)
def test_ended_after_the_last_byte(
    backend: Any,
    two_units: int,
    error: type[Exception],
    options: Callable[[Callable[[], bool]], Options],
) -> None:
    before = bytes_read()

    def all_was_read() -> bool:
        return bytes_read() - before > len(TWO_UNITS.data)

    assert_nothing_stays(error, backend, two_units, **options(all_was_read))


@pytest.mark.parametrize(("error", "options"), ENDINGS.values(), ids=ENDINGS)
def test_ended_in_the_middle(
    two_units: int,
    slow: list[Destination],
    error: type[Exception],
    options: Callable[[Callable[[], bool]], Options],
) -> None:
    before = bytes_read()

    assert_nothing_stays(
        error, NATIVE, two_units, *slow, threads=1, **options(lambda: being_delivered(slow))
    )
    assert bytes_read() - before < len(TWO_UNITS.data)


@pytest.mark.parametrize("what", [give_up, signal.default_int_handler], ids=["ours", "Ctrl-C"])
def test_a_signal_in_the_middle(
    two_units: int, slow: list[Destination], what: Callable[..., Any]
) -> None:
    """It arrives while this thread waits for the others; no callback lets Python see it."""
    before = bytes_read()

    def ring(_signal: int, _frame: object) -> None:
        if being_delivered(slow):
            what(signal.SIGINT, None)
        signal.setitimer(signal.ITIMER_REAL, 0.02)

    handler = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        assert_nothing_stays((GiveUpError, KeyboardInterrupt), NATIVE, two_units, *slow, threads=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert bytes_read() - before < len(TWO_UNITS.data)
