"""What test_nothing_stays.py runs: one piece of work, all of it in secret memory; then waits.

    python leave_nothing.py WORK FOLDER LAYOUT

FOLDER holds `sealed`, its tree's `area` and `root`, the input `key` and the `plain` text. LAYOUT is
JSON, as a load takes it. Says `over` when it is, and ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sealserve.native.checked import CheckedCopy
from sealserve.native.cobblestone import Message
from sealserve.native.destination import Cancelled, Destination
from sealserve.native.errors import IntegrityError
from sealserve.native.load import load
from sealserve.native.ranges import Ranges
from sealserve.native.sealing import pages_of, seal_unit
from sealserve.native.secret import SecretBuffer
from sealserve.native.verity import TrustedTree
from support.native_sealed import CONTEXT

UNIT_PLAIN = 256 * 16384
KEPT: list[object] = []


def secret_of(path: Path, size: int | None = None) -> SecretBuffer:
    secret = SecretBuffer(path.stat().st_size if size is None else size)
    with path.open("rb", buffering=0) as file:
        assert file.readinto(memoryview(secret)) == len(secret)
    return secret


def fails(error: type[Exception], work: Callable[..., None], *given: Any, **more: Any) -> None:
    try:
        work(*given, **more)
    except error:
        return
    raise AssertionError("it did not fail")


class Work:
    def __init__(self, folder: Path, layout: dict[str, int]) -> None:
        self.folder, self.layout = folder, layout
        self.fd = os.open(folder / "sealed", os.O_RDONLY)
        area, root = ((folder / name).read_bytes() for name in ("area", "root"))
        self.tree = TrustedTree.load(area, layout["data_bytes"], root)
        header = os.pread(self.fd, 56, layout["payload_offset"])
        with secret_of(folder / "key") as key:
            self.message = Message.of(key, header, CONTEXT)
        self.room = SecretBuffer((folder / "plain").stat().st_size)
        self.given = {**layout, "tree": self.tree, "message": self.message}
        self.destinations = [Destination(0, len(self.room), buffer=self.room)]

    def load(self) -> None:
        load(self.fd, **self.given, destinations=self.destinations)

    def checked_load(self) -> None:
        """What is opened comes from a copy, as far as it got by then."""
        with CheckedCopy(self.fd, **self.layout, tree=self.tree) as copy:
            while not copy.checked_bytes:
                time.sleep(0.001)
            load(self.fd, **self.given, destinations=self.destinations, checked=copy)

    def failing_load(self) -> None:
        fails(IntegrityError, self.load)

    def cancelled_load(self) -> None:
        """After the last byte: everything was delivered."""
        seen: list[int] = []
        given = {**self.given, "destinations": self.destinations}
        total = self.layout["data_bytes"]
        fails(
            Cancelled,
            load,
            self.fd,
            **given,
            progress=lambda done, _: seen.append(done),
            cancelled=lambda: seen[-1] == total,
        )

    def range(self) -> None:
        Ranges(self.fd, **self.given).read_into(0, self.room)

    def failing_range(self) -> None:
        fails(IntegrityError, Ranges(self.fd, **self.given).read_into, 0, self.room)

    def open(self) -> None:
        start = self.layout["payload_offset"] + 56
        sealed = os.pread(self.fd, self.layout["payload_bytes"] - 56, start)
        self.message.open_into(0, sealed, self.room, last=True)

    def failing_open(self) -> None:
        fails(IntegrityError, self.open)

    def seal(self) -> None:
        digests = bytearray(pages_of(UNIT_PLAIN, last=False) * 32)
        with secret_of(self.folder / "plain", UNIT_PLAIN) as plain:
            fd = os.open(self.folder / "made", os.O_WRONLY | os.O_CREAT)
            seal_unit(fd, 0, self.message, 0, plain, digests, last=False)
            os.close(fd)
            self.message.seal_into(0, plain, bytearray(UNIT_PLAIN + 256 * 16), last=False)

    def keep(self) -> None:
        """For the test of the test: what is not wiped is found."""
        self.load()
        KEPT.extend([self.message, self.room, secret_of(self.folder / "key")])
        self.message, self.room = Message.new(bytes(32), b""), SecretBuffer(1)

    def over(self) -> None:
        self.message.wipe()
        self.room.wipe()


def main(name: str, folder: str, layout: str) -> None:
    work = Work(Path(folder), json.loads(layout))
    getattr(work, name)()
    work.over()


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.write("over\n")
    sys.stdout.flush()
    sys.stdin.read()
