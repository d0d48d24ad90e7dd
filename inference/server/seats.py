"""Which slots of the table (table.py) belong to which process: a slot has one writer at a time.

While one generation takes over from another there are two; so there are two sets of seats, and a
third generation waits for the first one to be gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealserve.inference.server.table import FIRST_WORKER

_BESIDES_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Seats:
    """Slots of one generation: who gets its keys, who opens its models, and its workers."""

    attendant: int
    generation: int
    workers: range


def both(workers: int) -> tuple[Seats, Seats]:
    """The two sets, for so many workers each."""
    each = workers + _BESIDES_WORKERS
    return _seats(FIRST_WORKER, workers), _seats(FIRST_WORKER + each, workers)


def needed(workers: int) -> int:
    """How many slots both take."""
    return 2 * (workers + _BESIDES_WORKERS)


def _seats(first: int, workers: int) -> Seats:
    return Seats(first, first + 1, range(first + 2, first + 2 + workers))
