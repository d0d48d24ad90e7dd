"""How often a process that died is started again, and how soon."""

from __future__ import annotations

from collections import deque
from typing import Final

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0


class Restarts:
    """At most `limit` deaths within `window_seconds`; each pause is twice the one before."""

    def __init__(self, limit: int, window_seconds: float) -> None:
        self._limit = limit
        self._window_seconds = window_seconds
        self._deaths: deque[float] = deque()

    def died(self, now: float) -> float | None:
        """Seconds to wait before the next start; None when there have been too many deaths.

        now: on a clock that never goes back.
        """
        self._deaths.append(now)
        while self._deaths[0] <= now - self._window_seconds:
            self._deaths.popleft()
        recent = len(self._deaths)
        if recent > self._limit:
            return None
        return min(FIRST_PAUSE_SECONDS * float(2 ** (recent - 1)), LONGEST_PAUSE_SECONDS)
