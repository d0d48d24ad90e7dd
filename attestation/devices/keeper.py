"""The thread that keeps certificates and the revocation list current, so that no request waits.

It renews the list twice a day and, when a report came that nothing at hand signed (the firmware
was updated under us), fetches the new leaf. What fails is tried again, ever more slowly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sealserve.attestation.devices.leaves import Endorsed, Leaves
from sealserve.attestation.devices.lists import Lists
from sealserve.native.errors import UnavailableError

RENEW_SECONDS: Final = 12 * 3600.0  # lists live for months
FIRST_PAUSE_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 3600.0


class Keeper:
    """Keeps one machine's collateral current until `stop`. tell: hears of what failed.

    renew_seconds, first_pause_seconds: how long to wait after success and after a first failure.
    """

    def __init__(
        self,
        leaves: Leaves,
        lists: Lists,
        endorsed: Endorsed,
        tell: Callable[[str], None],
        *,
        renew_seconds: float = RENEW_SECONDS,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._leaves = leaves
        self._lists = lists
        self._endorsed = endorsed
        self._tell = tell
        self._renew_seconds = renew_seconds
        self._first_pause_seconds = first_pause_seconds
        self._failures = 0
        self._wanted: bytes | None = None
        self._renew_at = self._next_at = time.monotonic()
        self._stopped = False
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Where no list is at hand, try to get one: certificates made now carry it.

        In this thread, within FETCH_SECONDS; `start` goes on from there.
        """
        if self._lists.current(self._endorsed) is None:
            self._try()

    def start(self) -> None:
        """Keep things current in a thread from now on, unless there is one."""
        with self._condition:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(
                    target=self._run, name="sealserve-keeper", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; an exchange under way ends by its own deadline."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def want(self, raw: bytes) -> None:
        """Fetch the leaf that signed this report; at once, unless one is wanted already."""
        with self._condition:
            if self._wanted is None:
                self._next_at = time.monotonic()
            self._wanted = raw
            self._condition.notify()

    def _run(self) -> None:
        while self._sleep():
            self._try()

    def _try(self) -> None:
        pause = 0.0
        try:
            self._work()
        except UnavailableError as error:
            self._tell(error.message)
            pause = max(self._longer(), error.retry_after_seconds)
        except Exception as error:  # the next time may be better; evidence does without
            self._tell(f"unforeseen {type(error).__name__}")
            pause = self._longer()
        self._plan(pause)

    def _sleep(self) -> bool:
        """Until there is something to do; False when it is over."""
        with self._condition:
            while not self._stopped and (left := self._next_at - time.monotonic()) > 0:
                self._condition.wait(left)
            return not self._stopped

    def _work(self) -> None:
        wanted = self._wanted
        if wanted is not None:
            self._endorsed = self._leaves.fetch(wanted)
            with self._condition:
                if self._wanted is wanted:
                    self._wanted = None
        if time.monotonic() >= self._renew_at:
            self._lists.refresh(self._endorsed)
            self._renew_at = time.monotonic() + self._renew_seconds

    def _longer(self) -> float:
        """The pause after one more failure in a row."""
        self._failures += 1
        doubled: float = self._first_pause_seconds * 2 ** min(self._failures - 1, 16)
        return min(doubled, LONGEST_PAUSE_SECONDS)

    def _plan(self, pause: float) -> None:
        """The next time: after this pause, or without one when something is due."""
        with self._condition:
            if pause == 0.0:
                self._failures = 0
                pause = 0.0 if self._wanted else max(0.0, self._renew_at - time.monotonic())
            self._next_at = time.monotonic() + pause
