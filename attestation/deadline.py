"""An end to every exchange: a peer that always sends one byte more is cut off in time.

HTTP libraries limit each read, so that an answer in single bytes would never end.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType


class Deadline:
    """Shuts the sockets it was told of after so many seconds; a context manager.

    passed: whether that happened. A socket stays its owner's, who finds it at its end.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def watch(self, connected: socket.socket) -> None:
        """The socket the exchange runs over; it replaces one that was told before."""
        with self._lock:
            self._socket = connected
            if self.passed:
                self._shut()

    def trace(self, event: str, details: Mapping[str, object]) -> None:
        """For httpx (request extension `trace`): learn the socket when a connection is made."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            stream = details["return_value"]
            self.watch(stream.get_extra_info("socket"))  # type: ignore[attr-defined]

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it has ended by itself meanwhile
                self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None
