"""A process that loads one sealed file whenever it is told to, with its environment's kernels.

A line on stdin is `THREADS` or `THREADS verify`; a line on stdout says that it is done.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from pathlib import Path

from sealserve.native.cobblestone import Message, plain_size
from sealserve.native.load import Destination, load
from sealserve.native.verity import TrustedTree


def main(facts: Path) -> None:
    told = json.loads(facts.read_text())
    layout = told["layout"]
    fd = os.open(told["file"], os.O_RDONLY)
    area = os.pread(fd, told["area_bytes"], layout["data_bytes"])
    tree = TrustedTree.load(area, layout["data_bytes"], bytes.fromhex(told["root"]))
    header = os.pread(fd, 56, layout["payload_offset"])
    message = Message.of(bytes.fromhex(told["key"]), header, b"benchmark")
    size = plain_size(layout["payload_bytes"])
    with mmap.mmap(-1, size) as buffer:
        whole = [Destination(0, size, buffer=buffer)]
        for line in sys.stdin:
            threads, *verify = line.split()
            load(
                fd,
                **layout,
                tree=tree,
                message=message,
                destinations=[] if verify else whole,
                threads=int(threads),
            )
            print("done", flush=True)
        whole.clear()


main(Path(sys.argv[1]))
