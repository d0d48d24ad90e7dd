"""Keeps the memory of this process out of the files that a crash writes, and from other readers.

A process that holds a key says both before it has one. A limit of zero alone is not enough: where
the kernel pipes core files to a program (core_pattern), the limit is not looked at [core(5)].

Imports nothing but the standard library, so that it can come before anything that starts a thread.
"""

from __future__ import annotations

import ctypes
import os
import resource

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid() -> None:
    """Both of the below, for who has no reason to do something in between."""
    no_core_files()
    set_undumpable()


def no_core_files() -> None:
    """RLIMIT_CORE 0, which cannot be raised again without privilege [core(5)]."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def set_undumpable() -> None:
    """PR_SET_DUMPABLE 0: no core, no ptrace, no /proc/PID/mem for others of our user [prctl(2)].

    An exec resets it. OSError if the kernel refuses, which it has no reason to.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")
