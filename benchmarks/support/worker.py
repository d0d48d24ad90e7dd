"""A process that does one thing whenever it is told to, with its environment's kernels.

    worker.py load FACTS       lines on stdin: THREADS [verify]
    worker.py seal FILE SIZE   lines on stdin: anything

A line on stdout says that it is ready, and one each time that it is done.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path

from support.sealed import Sealed

from sealserve.native.cobblestone import Message, plain_size
from sealserve.native.load import Destination, load
from sealserve.native.sealing import UNIT_PLAIN_BYTES, pages_of, seal_unit
from sealserve.native.verity import tree_of

UNIT_BYTES = pages_of(UNIT_PLAIN_BYTES, last=False) * 4096


def loading(facts: str) -> Callable[[str], None]:
    """Into memory that is used again."""
    sealed = Sealed.read(Path(facts))
    fd = sealed.open()
    tree, message = sealed.tree(fd), sealed.message(fd)
    size = plain_size(sealed.payload_bytes)
    whole = [Destination(0, size, buffer=mmap.mmap(-1, size))]

    def run(line: str) -> None:
        threads, *verify = line.split()
        load(
            fd,
            **sealed.layout,
            tree=tree,
            message=message,
            destinations=[] if verify else whole,
            threads=int(threads),
        )

    return run


def sealing(path: str, size: str) -> Callable[[str], None]:
    """Whole units into a file that is overwritten each time, and the tree over them."""
    plain = memoryview(os.urandom(int(size)))
    fd = os.open(path, os.O_RDWR)

    def run(_line: str) -> None:
        message = Message.new(bytes(32), b"benchmark")
        units = range(0, len(plain), UNIT_PLAIN_BYTES)
        digests = memoryview(bytearray(len(units) * UNIT_BYTES // 4096 * 32))
        each = UNIT_BYTES // 4096 * 32
        for unit, start in enumerate(units):
            part = plain[start : start + UNIT_PLAIN_BYTES]
            leaves = digests[unit * each : (unit + 1) * each]
            seal_unit(fd, unit * UNIT_BYTES, message, unit * 256, part, leaves, last=False)
        tree_of(digests)

    return run


def main(what: str, *arguments: str) -> None:
    run = loading(*arguments) if what == "load" else sealing(*arguments)
    print("ready", flush=True)
    for line in sys.stdin:
        run(line)
        print("done", flush=True)


main(*sys.argv[1:])
