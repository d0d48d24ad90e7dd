"""What a service needs in memory, counted by the kernel for a control group of its own.

Anonymous and shared memory of all its processes, each page once, wherever it is mapped or not.
Pages of files that happen to be cached are told apart: they belong to whoever read the file first,
and go when somebody needs the room. Control groups of either version (cgroups(7)).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

_SECONDS = 10.0
_MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Bytes. mapped: of files, in the memory of some process at that moment."""

    own: int
    cached: int
    mapped: int

    def without(self, bytes_of_others: int) -> Memory:
        return replace(self, own=self.own - bytes_of_others)


@dataclass(frozen=True)
class Group:
    folder: Path

    def memory(self) -> Memory:
        lines = (self.folder / "memory.stat").read_text().splitlines()
        told = {name: int(value) for name, value in (line.split() for line in lines)}
        shared = told["shmem"]
        if "anon" in told:
            own, files, mapped = told["anon"], told["file"], told["file_mapped"]
        else:  # version 1
            own, files, mapped = told["rss"], told["cache"], told["mapped_file"]
        return Memory(own + shared, files - shared, mapped)

    def prefix(self) -> list[str]:
        """Before a command: it, and whatever it starts, belongs to the group."""
        inside = 'echo $$ > "$0"; exec "$@"'
        return ["sh", "-c", inside, str(self.folder / "cgroup.procs")]


def why_none() -> str:
    """Why no group can be made here, or nothing."""
    try:
        with group("probe"):
            return ""
    except OSError as error:
        return f"no control group for memory can be made: {error.strerror}"


@contextmanager
def group(name: str) -> Iterator[Group]:
    """An empty one, which has to be empty again at the end."""
    version_1 = (_MOUNT / "memory").is_dir()
    folder = (_MOUNT / "memory" if version_1 else _MOUNT) / f"sealserve-{name}-{os.getpid()}"
    folder.mkdir()
    try:
        if not (folder / "memory.stat").exists():
            raise FileNotFoundError(2, "the memory controller is not on")
        yield Group(folder)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """The kernel takes a moment to see that nobody is in there any more."""
    until = time.monotonic() + _SECONDS
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return
