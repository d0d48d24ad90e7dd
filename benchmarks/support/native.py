"""native.c as Python sees it: the clock of a core, OpenSSL and libipsec-mb, the floor of a range.

Why OpenSSL is called like this: by the code of our own portable path, on the same core, in the same
thread and over the same memory, a moment after ours. Another process would have its own pages and
its own moments; Python's call for each chunk would be charged to the peer.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from support.turns import Reading

from sealserve.native.crypto import kernels

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [Path(__file__).with_name("native.c"), *sorted((ROOT / "native/src").glob("*.c"))]
HEADERS = sorted((ROOT / "native/src").glob("*.h"))
FLAGS = ["-O3", "-std=c11", "-fvisibility=hidden", "-fPIC", "-shared"]  # as setup.py has them
ALONE = 0.93  # VAESENC a cycle, of one; some of the time goes to reading it
POINTER, SIZE = ctypes.c_void_p, ctypes.c_size_t
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "bench_clock": (ctypes.c_double, []),
    "bench_ports": (ctypes.c_double, []),
    "bench_own_start": (ctypes.c_char_p, [POINTER, ctypes.c_char_p, ctypes.c_char_p]),
    "bench_own_open": (ctypes.c_int, [POINTER, SIZE, POINTER, SIZE, POINTER]),
    "bench_evp_start": (ctypes.c_char_p, []),
    "bench_evp_key": (POINTER, [POINTER]),
    "bench_evp_open": (ctypes.c_int, [POINTER, POINTER, SIZE, POINTER, SIZE, POINTER]),
    "bench_evp_leaves": (ctypes.c_int, [POINTER, SIZE, POINTER]),
    "bench_ipsec_start": (ctypes.c_char_p, [POINTER, ctypes.c_int]),
    "bench_ipsec_open": (ctypes.c_int, [POINTER, SIZE, POINTER, SIZE, POINTER]),
    "bench_floor": (ctypes.c_int, [ctypes.c_int, POINTER, SIZE]),
}


@cache
def library() -> Any:
    """Built once for these sources, into build/bench."""
    text = b"".join(path.read_bytes() for path in [*SOURCES, *HEADERS])
    built = ROOT / "build/bench" / f"native-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not built.exists():
        _build(built)
    loaded = ctypes.CDLL(str(built))
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def clock() -> Reading:
    """Of this core, now. Where its ports tell nothing it is taken for ours alone."""
    ghz: float = library().bench_clock()
    per_cycle: float = library().bench_ports() / ghz
    return Reading(ghz, alone=per_cycle == 0 or per_cycle >= ALONE)


def address(memory: Any) -> ctypes.c_void_p:
    """Of writable memory, which the caller keeps alive."""
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))


def start_own(key: bytes) -> None:
    """Our kernels under this key: those that the module uses."""
    must(library().bench_own_start(key, *(names[0].encode() for names in kernels().values())))


def must(why: bytes | None) -> None:
    """Stop unless the library started."""
    if why is not None:
        raise SystemExit(why.decode())


def done(result: int) -> None:
    """Stop unless the work was done: a wrong answer has no speed."""
    if result != 1:
        raise SystemExit("a native function failed: wrong tag or digest, or a file that ended")


def keeping(run: Callable[[], object], *memory: object) -> Callable[[], object]:
    """`run`, and the memory that it knows by address alone."""

    def kept() -> None:
        run()
        _ = memory

    return kept


@contextmanager
def one_core() -> Iterator[int]:
    """This thread, and whatever it starts, on one core: the last that we may use."""
    allowed = os.sched_getaffinity(0)
    core = max(allowed)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, allowed)


def _build(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    command: list[str | Path] = [
        "gcc",
        *FLAGS,
        "-I",
        ROOT / "native/src",
        *SOURCES,
        "-o",
        fresh,
        "-ldl",
    ]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise SystemExit("gcc is missing: apt-get install gcc") from None
    fresh.replace(target)
