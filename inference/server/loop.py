"""An event loop of one thread that may fork: descriptors, signals and times, nothing else.

asyncio's keeps a kernel object that a forked child would share, and imports what a supervisor has
no use for.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

Call = Callable[[], None]


class Waitable(Protocol):
    """What can become readable."""

    def fileno(self) -> int: ...


class Loop:
    """Calls back, one thing after the other. Only for the main thread, because of the signals."""

    def __init__(self) -> None:
        self._selector = selectors.PollSelector()  # of this process alone, whoever it forks
        self._times: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._signals: dict[int, Call] = {}
        self._woken, self._wake = socket.socketpair()
        for each in (self._woken, self._wake):
            each.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._signalled)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def watch(self, what: Waitable, call: Call) -> None:
        """Call this whenever something can be read there."""
        self._selector.register(what, selectors.EVENT_READ, call)

    def forget(self, what: Waitable) -> None:
        """No longer, if it was watched; before it is closed."""
        with suppress(KeyError):
            self._selector.unregister(what)

    def after(self, seconds: float, call: Call) -> None:
        """Call this once, so many seconds from now."""
        heapq.heappush(self._times, (time.monotonic() + seconds, next(self._order), call))

    def on_signal(self, number: int, call: Call) -> None:
        """Call this when the signal came; not in the middle of something."""
        self._signals[number] = call
        signal.signal(number, lambda _number, _frame: None)

    def run(self, going_on: Callable[[], bool]) -> None:
        """Until it is over."""
        while going_on():
            for key, _ in self._selector.select(self._timeout()):
                # Whoever was called before may have forgotten this one.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
            self._call_what_is_due()

    def close(self) -> None:
        """Give up what it holds, here or in a forked child; signals wake nobody any more."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._woken.close()
        self._wake.close()

    def _timeout(self) -> float | None:
        return max(0.0, self._times[0][0] - time.monotonic()) if self._times else None

    def _call_what_is_due(self) -> None:
        while self._times and self._times[0][0] <= time.monotonic():
            heapq.heappop(self._times)[2]()

    def _signalled(self) -> None:
        with suppress(BlockingIOError):
            for number in self._woken.recv(64):
                if number in self._signals:
                    self._signals[number]()
