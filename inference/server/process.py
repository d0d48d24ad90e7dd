"""Forking: only with one thread, and children that end with their parent.

A fork copies one thread. What another one held at that moment, a lock of the allocator or of a
library, would be held in the child for ever; so everything that forks here has one thread, and that
is looked at and not believed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from sealserve.native.errors import UnavailableError

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
# A thread that was joined may be listed a moment longer: it tells whoever waits before it is gone.
_LINGER_SECONDS: Final = 1.0
UNFORESEEN: Final = 70
_OURS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_libc = ctypes.CDLL(None, use_errno=True)


class Closable(Protocol):
    """What a child has no use for."""

    def close(self) -> None: ...


class Child:
    """A process of ours. `fileno` becomes readable when it has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._pidfd

    def send(self, number: int) -> None:
        """A signal, if it still runs; never to another process that got its number."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def reap(self) -> int:
        """Wait for its end: its status, or the number of the signal that killed it, negative."""
        _, status = os.waitpid(self.pid, 0)
        self.close()
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        os.close(self._pidfd)


def fork(work: Callable[[], int], closing: Iterable[Closable] = ()) -> Child:
    """A child that does this and ends with the status it returns; it never comes back here.

    closing: what the child has to give up first. It has the default handlers, but is not reached by
    a terminal's signals, which are for the first of us alone; it is killed when its parent ends.
    UnavailableError with more than one thread.
    """
    require_single_thread()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Child(pid)
    status = UNFORESEEN
    try:
        for each in closing:
            each.close()
        _settle(parent)
        status = _done(work)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)


def require_single_thread() -> None:
    """UnavailableError unless this thread is the only one of its process."""
    end = time.monotonic() + _LINGER_SECONDS
    while len(list(Path("/proc/self/task").iterdir())) != 1:
        if time.monotonic() > end:
            raise UnavailableError(
                "a process that has several threads cannot be forked safely",
                hint="this is a bug in sealserve; please report it with what was served",
            )
        time.sleep(0.001)


def die_with(parent: int) -> None:
    """Be killed when that process, which forked this one, ends [prctl(2)]."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")
    if os.getppid() != parent:  # it ended before
        os._exit(UNFORESEEN)


def give_up(_number: int, _frame: object) -> None:
    """A handler for SIGTERM: whoever holds something secret wipes it on the way out."""
    raise SystemExit(0)


def _settle(parent: int) -> None:
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)


def _done(work: Callable[[], int]) -> int:
    try:
        return work()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
