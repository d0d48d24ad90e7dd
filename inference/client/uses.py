"""Who may use a verified channel, and when it can be closed."""

from __future__ import annotations

import os
import threading


class Uses:
    """Counts who uses a channel: closing it under them would cancel their calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._retired = False

    @property
    def count(self) -> int:
        """How many use it now."""
        return self._count

    def begin(self) -> bool:
        """Whether one more may use it; `end` follows then."""
        with self._lock:
            self._count += not self._retired
            return not self._retired

    def end(self) -> bool:
        """Whether it has to be closed now: it was retired, and this was the last use."""
        with self._lock:
            self._count -= 1
            return self._retired and not self._count

    def retire(self) -> bool:
        """Nobody begins any more. Whether it has to be closed now."""
        with self._lock:
            self._retired = True
            return not self._count


class Process:
    """The process that made a client: threads and connections of gRPC do not survive a fork."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def is_this(self) -> bool:
        """Whether nobody forked since."""
        return os.getpid() == self._pid

    def require(self) -> None:
        """RuntimeError in any other process."""
        if not self.is_this():
            raise RuntimeError(
                f"this client was made by process {self._pid} and this is {os.getpid()}, forked"
                " from it: connect again in this process"
            )
