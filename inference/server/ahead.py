"""Packages that are needed later, loaded in a thread while native code works in another.

Waiting for a key and prepacking leave a processor idle, and decrypting leaves the interpreter so.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

# Of the interpreter: whoever comes out of native code waits for no more than that.
_SWITCH_SECONDS: Final = 0.0005


class Ahead:
    """Use it in a `with` block; at its end all of them are there, and no thread is left.

    first, later: names of modules. `later` are loaded once somebody says `go_on`, or at the end.
    One that cannot be loaded is left to whoever imports it: the error is theirs to tell.
    """

    def __init__(self, first: Sequence[str], later: Sequence[str] = ()) -> None:
        self._first = first
        self._later = later
        self._going_on = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sealserve-ahead", daemon=True)

    def __enter__(self) -> Ahead:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going_on.set()
        self._thread.join()
        sys.setswitchinterval(self._interval)

    def go_on(self) -> None:
        """Whatever needed all processors has ended."""
        self._going_on.set()

    def _work(self) -> None:
        _load(self._first)
        self._going_on.wait()
        _load(self._later)


def _load(names: Sequence[str]) -> None:
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)
