"""A process that opens a sealed model and says what memory that took beside the plaintext.

    memory.py MODEL ROOT KEY

Prints the bytes by which anonymous and shared memory grew at their highest, less the plaintext.
Pages of files that happen to be cached belong to nobody and are not counted. Plaintext lies in
memory files as a server's does; what the kernel has given them is counted wherever it is mapped.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealserve.models import RawKey, open_model


class Place:
    """Memory files, one for each entry."""

    def __init__(self) -> None:
        self.files: list[int] = []

    def wants(self, name: str) -> bool:
        return name.startswith("weights/")

    def create(self, name: str, size: int) -> int:
        descriptor = os.memfd_create(name)
        os.ftruncate(descriptor, size)
        self.files.append(descriptor)
        return descriptor

    def finish(self) -> None:
        """They stay open: they are what is counted."""

    def wipe(self) -> None:
        raise SystemExit("the model did not open")

    @property
    def held(self) -> int:
        return sum(os.fstat(descriptor).st_blocks * 512 for descriptor in self.files)


def in_use(place: Place) -> int:
    """Bytes of this process: anonymous, shared and mapped, and in memory files not mapped."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    rollup = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
    return (rollup["Anonymous"] + rollup["Pss_Shmem"]) * 1024 + place.held


@contextmanager
def sampled(place: Place) -> Iterator[list[int]]:
    """What was in use, every few milliseconds, from before to after."""
    samples = [in_use(place)]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            samples.append(in_use(place))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()
        samples.append(in_use(place))


def main(model: str, root: str, key: str) -> None:
    place, opener = Place(), RawKey(bytes.fromhex(key))
    with sampled(place) as samples:

        def at_each_step(_done: int, _all: int) -> None:
            """Also behind the last byte, when everything that is needed is held at once."""
            samples.append(in_use(place))

        with open_model(model, root, opener, place, progress=at_each_step) as opened:
            plaintext = len(opened.graph) + sum(opened.files.values())
    print(max(samples) - samples[0] - plaintext)


if __name__ == "__main__":  # a test imports what counts
    main(*sys.argv[1:])
