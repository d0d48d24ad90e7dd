"""Memory that the host of a virtual machine has at hand.

A guest gives back what it has no use for (free page reporting), and the host takes longer to find
it again than any of our ways takes in all: whoever runs first would pay for the next one. So a
process holds as much as will be needed, and lets go of it when that is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TOUCH = """
import mmap, sys
memory = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
for at in range(0, len(memory), mmap.PAGESIZE):
    memory[at] = 1
print("held", flush=True)
sys.stdin.read()
"""
_POLL_SECONDS = 0.002


@contextmanager
def at_hand(size: int, depth: int) -> Iterator[None]:
    """So many bytes, let go of when this process has a descendant at that depth: 1 is a child."""
    command = [sys.executable, "-I", "-c", _TOUCH, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        over = threading.Event()

        def let_go() -> None:
            while not _descendants(depth, holder.pid) and not over.wait(_POLL_SECONDS):
                pass
            holder.kill()

        thread = threading.Thread(target=let_go)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _descendants(depth: int, without: int) -> list[int]:
    generation = [os.getpid()]
    for _ in range(depth):
        generation = [child for parent in generation for child in _children(parent)]
        generation = [child for child in generation if child != without]
    return generation


def _children(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:  # it has ended
            continue
    return found
