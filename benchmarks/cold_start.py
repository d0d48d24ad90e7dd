"""How long from starting a server to its first prediction, and what memory does it hold then?

A model of MatMul weights in an external file. Ours starts as a person starts it: interpreter,
imports, evidence, key, every leaf and tag of the sealed file, a session with prepacked weights, a
listener; a client attests and predicts; with `--early` before weights are prepacked. Beside it a
Python process with plain ONNX Runtime makes the same session on the plaintext file and runs it
once. The files are in the page cache, ours is compiled as an installed one is, and every turn finds
memory that its host has at hand.
"""

from __future__ import annotations

import compileall
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from support.attested import Owned, owned, served
from support.group import Memory, group, why_none
from support.models import INPUT, layers, model
from support.options import GIB, MIB, options
from support.peers import HERE
from support.report import Report, begin
from support.started import running
from support.turns import Way
from support.warmth import at_hand

import sealserve
from sealserve.inference.client import connect

QUESTION = "How long does a cold start take, to the first prediction?"
WIDTH, QUICK_WIDTH = 4096, 512
AT_MOST_TIMES = 1.20
AT_MOST_TIMES_EARLY = 0.5
AT_MOST_MEMORY = 1.15
TOUCHED = 2  # times the model: the weights, once decrypted and once prepacked
READY = re.compile("ready")


@dataclass(frozen=True)
class Begun:
    """A first prediction is there. beside: a process that is not the service's own, or 0."""

    seconds: float
    beside: int = 0


# Starts a server as `prefix COMMAND...`; in the `with` block its first prediction was there.
Start = Callable[[Sequence[object]], AbstractContextManager[Begun]]


@contextmanager
def ours(server: Owned, width: int, prefix: Sequence[object]) -> Iterator[Begun]:
    """From when the platform started it: on a machine of its own, the platform is there before."""
    with server.serving(prefix) as started:
        with connect(f"{started.host}:{started.port}", started.trust) as client:
            client.predict("cold", {INPUT: np.zeros((1, width), np.float32)})
        yield Begun(age(only_child(started.process)), started.process)


@contextmanager
def plain(path: Path, prepacking: bool, prefix: Sequence[object]) -> Iterator[Begun]:
    command = [*prefix, sys.executable, HERE / "plain.py", path, int(prepacking)]
    with running(command, READY) as (process, _):
        yield Begun(age(process.pid))


def compiled() -> None:
    """As by whoever installs it: a server writes no bytecode, and would compile at each start."""
    for folder in Path(next(iter(sealserve.__path__))).iterdir():
        if folder.is_dir():  # links, in a working copy
            compileall.compile_dir(folder.resolve(), quiet=2)


def only_child(process: int) -> int:
    (child,) = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(child)


def age(process: int) -> float:
    """Seconds since it was started (proc(5), stat, field 22: clock ticks after the boot)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def seconds(start: Start, size: int, depth: int) -> float:
    with at_hand(TOUCHED * size, depth), start(()) as begun:
        return begun.seconds


def memory(start: Start, files: Sequence[Path]) -> Memory:
    """When the first prediction is there. The files are read anew: their pages are then its own."""
    for path in files:
        forget(path)
    with group("start") as counted, start(counted.prefix()) as begun:
        return counted.memory().without(anonymous(begun.beside) if begun.beside else 0)


def anonymous(process: int) -> int:
    """Bytes of its own memory (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("Anonymous:"))


def forget(path: Path) -> None:
    """Take a file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare(report: Report, our: Start, early: Start, peer: Start, unpacked: Start) -> None:
    ways = [
        Way(name, 1, partial(seconds, start, report.options.size, depth), tells_seconds=True)
        for name, start, depth in (
            ("sealserve, sealed file", our, 2),  # the platform starts it
            ("the same with --early", early, 2),
            ("plain ONNX Runtime, plaintext file", peer, 1),
            ("plain ONNX Runtime, not prepacked", unpacked, 1),
        )
    ]
    size = f"{report.options.size / MIB:.4g} MiB"
    speeds = report.compare(f"From start to first prediction, {size}", ways[:2], ways[2:])
    first, second, other, _ = (speeds[way.name] for way in ways)
    report.at_most("cold start, times plain", first, other, AT_MOST_TIMES)
    report.at_most("cold start with --early, times plain", second, other, AT_MOST_TIMES_EARLY)


def memories(report: Report, our: Start, peer: Start, sealed: Path, plaintext: Path) -> None:
    why = why_none()
    if why:
        report.no_limit("memory", why)
        return
    held, other = memory(our, [sealed]), memory(peer, [plaintext])
    for name, seen in (("sealserve", held), ("plain ONNX Runtime", other)):
        report.say(
            f"  {name}: {seen.own / MIB:.0f} MiB, and {seen.mapped / MIB:.0f} MiB of mapped files;"
            f" {seen.cached / MIB:.0f} MiB of files in the page cache"
        )
    times = held.own / (other.own + other.mapped)
    report.amount("memory, times plain", times, "x", at_most=AT_MOST_MEMORY)


def main() -> None:
    wanted = options(QUESTION, repeats=4, size=GIB, quick_size=8 * MIB, multiple=MIB)
    report = begin("cold_start", QUESTION, wanted)
    width = QUICK_WIDTH if wanted.quick else WIDTH
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, data = folder / "cold.onnx", folder / "cold.bin"
        cold = model("cold", (width,), layers([width] * (1 + wanted.size // (4 * width * width))))
        onnx.save(cold.proto, path, save_as_external_data=True, location=data.name)
        del cold
        server = owned(folder, {"cold": path})
        our = partial(ours, server, width)
        early = partial(ours, served(folder, server.roots, "--early"), width)
        compiled()
        compare(report, our, early, partial(plain, path, True), partial(plain, path, False))
        memories(report, our, partial(plain, path, True), folder / "cold.sealed", data)
    report.finish()


main()
