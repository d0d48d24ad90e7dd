"""Processes that share nothing and only compute, in Python: what several cores are worth."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from support.turns import Way

UNITS = 100  # of a burst, for each process
# About a millisecond of what handling a request is made of: small objects and lookups.
_PROGRAM = """
import sys
for line in sys.stdin:
    for _ in range(int(line)):
        seen = {}
        for number in range(4000):
            seen[number % 64] = (number, seen.get(number % 63))
    print(flush=True)
"""


@contextmanager
def spinning(most: int) -> Iterator[list[Way]]:
    """Ways with one process and with so many, each of which does the same. Requests are units."""
    started = [
        subprocess.Popen(
            [sys.executable, "-I", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(most)
    ]
    try:
        yield [_way(started[:1]), _way(started)]
    finally:
        for each in started:
            each.communicate()


def _way(processes: Sequence[subprocess.Popen[str]]) -> Way:
    def run() -> None:
        for each in processes:
            assert each.stdin
            each.stdin.write(f"{UNITS}\n")
            each.stdin.flush()
        for each in processes:
            assert each.stdout
            each.stdout.readline()

    number = len(processes)
    name = f"{number} that share{'s' if number == 1 else ''} nothing"
    return Way(name, UNITS * number, run, in_flight=number)
