"""How fast does a sealed file in the page cache become verified plaintext, and at what cost?

Ours, and the same structure on OpenSSL (our own code with both kernels set to libcrypto, in another
process), into memory that is used again; then without a destination, beside `veritysetup verify` of
that file, which opens nothing. Then threads, one small range beside its floor, and memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from support.hashing import veritysetup_verify
from support.machine import BOTH_PORTS
from support.native import one_core
from support.options import KIB, MIB, options
from support.process import OPENSSL, OURS, Worker, memory_to_open
from support.ranges import PLACES, floor, read_into
from support.report import Report, begin
from support.sealed import Sealed, seal
from support.turns import Missing, Way

from sealserve.models import RawKey
from sealserve.models import seal as seal_model

QUESTION = "How fast does a sealed file in the page cache become verified plaintext?"
PIECE = 256 * KIB
MODEL, QUICK_MODEL = 1 << 30, 16 * MIB


def one_thread(report: Report, sealed: Sealed, facts: Path) -> None:
    size = report.options.size
    with (
        one_core(),
        Worker(OURS, "load", facts) as mine,
        Worker(OPENSSL, "load", facts) as openssl,
    ):
        speeds = report.compare(
            "Loaded from the page cache, one thread",
            [
                loaded := mine.way("load", size, "1"),
                verified := mine.way("load without destinations", size, "1 verify"),
            ],
            [
                same := openssl.way("the same structure on OpenSSL", size, "1"),
                openssl.way("the same without destinations", size, "1 verify"),
                veritysetup(sealed),
                limit := reading(sealed, size),
            ],
        )
    full, check = speeds[loaded.name], speeds[verified.name]
    verity = speeds.get("veritysetup verify")
    report.measured_limit("page cache, read into memory", speeds[limit.name])
    report.ratio("load, against OpenSSL", full, speeds[same.name], at_least=2.0)
    report.ratio("load, against veritysetup verify", full, verity, at_least=1.8)
    report.ratio("verify only, against veritysetup verify", check, verity, at_least=2.0)
    report.port_limit("hash and cipher in turn", full, BOTH_PORTS)


def threads(report: Report, facts: Path) -> None:
    """On every core we have: 1, 2, 4 ..."""
    size, cores = report.options.size, len(os.sched_getaffinity(0))
    counts = [1, *(2**i for i in range(1, cores.bit_length()) if 2**i <= cores)]
    with Worker(OURS, "load", facts) as mine, Worker(OPENSSL, "load", facts) as openssl:
        speeds = report.compare(
            "Loaded from the page cache, by threads",
            [mine.way(f"load, {_threads(n)}", size, f"{n}", threads=n) for n in counts],
            [
                openssl.way(f"the same on OpenSSL, {_threads(n)}", size, f"{n}", threads=n)
                for n in counts
            ],
        )
    two = speeds.get("load, 2 threads")
    if two is None:
        report.no_limit("two threads", "one core")
    else:
        report.ratio("2 threads, against 1", two, speeds["load, 1 thread"], at_least=1.8)


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def one_range(report: Report, sealed: Sealed) -> None:
    fd = sealed.open()
    with one_core():
        speeds = report.compare(
            f"Ranges of 4 KiB of an open handle, {PLACES} places",
            [ours := read_into(sealed, fd)],
            [least := floor(sealed, fd)],
        )
    report.measured_limit(least.name, speeds[least.name])
    report.at_most("one range, times its floor", speeds[ours.name], speeds[least.name], 1.3)
    os.close(fd)


def memory(report: Report, folder: Path) -> None:
    """In a process of its own, so that nothing else grows in it."""
    size = QUICK_MODEL if report.options.quick else MODEL
    key = os.urandom(32)
    model = save_model(folder, size)
    made = seal_model(model, folder / "big", keys=[RawKey(key)], name="big", version="1")
    report.say(f"\nMemory while opening a model of {size >> 20} MiB")
    grown = memory_to_open(folder / "big", made.root, key) / MIB
    report.amount("anonymous and shared memory beside the plaintext", grown, "MiB", at_most=24)


def save_model(folder: Path, size: int) -> Path:
    """It looks bytes up in one table of this size, which is a file beside it."""
    (folder / "table").touch()
    os.truncate(folder / "table", size)
    table = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[size])
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "i"], ["y"])],
        "lookup",
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n"])],
        [table],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / "model.onnx")
    return folder / "model.onnx"


def veritysetup(sealed: Sealed) -> Way | Missing:
    path = Path(sealed.path)
    return veritysetup_verify(path, path, sealed.root, hash_offset=sealed.data_bytes)


def reading(sealed: Sealed, size: int) -> Way:
    """The limit: in pieces into memory that is used again, and nothing done with them."""
    fd = sealed.open()
    memory = memoryview(mmap.mmap(-1, size))
    pieces = [(at, memory[at : at + PIECE]) for at in range(0, size, PIECE)]

    def read() -> None:
        for at, piece in pieces:
            os.preadv(fd, [piece], at)

    return Way("page cache, read into memory", size, read)


def main() -> None:
    wanted = options(QUESTION, size=256 * MIB, quick_size=4 * MIB, multiple=PIECE, repeats=9)
    report = begin("load", QUESTION, wanted)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sealed = seal(folder, wanted.size)
        facts = folder / "facts.json"
        sealed.write(facts)
        one_thread(report, sealed, facts)
        threads(report, facts)
        one_range(report, sealed)
        memory(report, folder)
    report.finish()


main()
