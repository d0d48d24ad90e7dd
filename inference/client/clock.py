"""Time as a client needs it: how long is left, and how old evidence is."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sealserve.native.errors import UnavailableError

# A machine that was genuine an hour ago is asked again before more data goes to it.
MAX_EVIDENCE_AGE_SECONDS = 3600.0
# A month, where somebody asks for no limit: locks and sockets take no infinity.
_LONGEST_SECONDS = 30 * 86400.0
_SHORTEST_SECONDS = 1e-6


def now() -> datetime:
    """The time certificates and trust files are compared with."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Seconds since some start; goes on while a laptop sleeps, unlike `time.monotonic`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class TooLateError(UnavailableError):
    """Not done in time (gRPC: DEADLINE_EXCEEDED)."""


class Deadline:
    """How long one call of ours may still take. ValueError unless the time is above zero."""

    def __init__(self, timeout_seconds: float) -> None:
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; it has to be above 0")
        self._timeout_seconds = timeout_seconds
        self._end = elapsed() + min(timeout_seconds, _LONGEST_SECONDS)

    @property
    def remaining(self) -> float:
        """Seconds left, below zero when it has passed."""
        return self._end - elapsed()

    def sooner(self, seconds: float) -> Deadline:
        """Another one, in so many seconds, but not after this one."""
        return Deadline(max(min(seconds, self.remaining), _SHORTEST_SECONDS))

    def left(self) -> float:
        """Seconds left; UnavailableError when there are none."""
        seconds = self.remaining
        if seconds <= 0:
            raise self.passed()
        return seconds

    def allows(self, seconds: float) -> bool:
        """Whether more than that is left."""
        return self.remaining > seconds

    def passed(self) -> TooLateError:
        """The error for whoever is not done."""
        return TooLateError(f"not done within {self._timeout_seconds:g} seconds")
