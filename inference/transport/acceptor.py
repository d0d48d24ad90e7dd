"""Takes connections off a listening socket; other processes may take them off the same one.

Whoever waits there is seen by all of them, again and again until somebody took it (epoll's levels),
so nothing that one of them misses is lost. One whose rivals come first looks elsewhere for a moment
and then looks again: nobody has to wake it, and nobody can forget to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

_BACKLOG: Final = 1024
_STEP_SECONDS: Final = 0.001  # about what a handshake takes
_SHORTAGE_SECONDS: Final = 1.0  # of descriptors, or of memory
_AT_ONCE: Final = 16  # then those who are connected already have their turn


class Rivals(Protocol):
    """Others who take connections off the same socket."""

    def come_first(self) -> bool:
        """Whether one of them should take the one that waits. Asked again and again while it does,
        and not for ever true: it may be that none of them is able to.
        """

    def took(self) -> None:
        """We have one more."""

    def lost(self) -> None:
        """We have one less."""


class _Nobody:
    """No rivals."""

    def come_first(self) -> bool:
        return False

    def took(self) -> None:
        return

    def lost(self) -> None:
        return


NOBODY: Final = _Nobody()


class Acceptor:
    """Takes, from now on. begin: what is done with a connection, and where it comes from."""

    def __init__(
        self,
        listener: socket.socket,
        rivals: Rivals,
        begin: Callable[[socket.socket, Any], asyncio.Task[None] | None],
    ) -> None:
        """listener: bound; its descriptor is ours from here on.

        begin: the task in which the connection begins, or None if it does not. Raises OSError if
        somebody else listens there.
        """
        listener.setblocking(False)
        listener.listen(_BACKLOG)  # which changes nothing if another of us listens already
        self.listener = listener
        self._rivals = rivals
        self._begin = begin
        self._beginning: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self._watch()

    async def close(self) -> None:
        """Take no more. What was taken has begun then, and the others' socket goes on."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self.listener)
        self.listener.close()
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _watch(self) -> None:
        self._later = None
        self._loop.add_reader(self.listener, self._look)

    def _look(self) -> None:
        """Somebody waits, or did a moment ago."""
        for _ in range(_AT_ONCE):
            if self._rivals.come_first():
                self._look_away(_STEP_SECONDS)
                return
            try:
                plain, address = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._look_away(_SHORTAGE_SECONDS)
                return
            self._take(plain, address)

    def _look_away(self, seconds: float) -> None:
        self._loop.remove_reader(self.listener)
        self._later = self._loop.call_later(seconds, self._watch)

    def _take(self, plain: socket.socket, address: Any) -> None:
        task = self._begin(plain, address)
        if task is not None:
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)
