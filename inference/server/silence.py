"""What libraries and the interpreter want to say, none of which is for a log of ours.

A traceback quotes values, a warning quotes names, gRPC names peers, and a C++ library that ends the
process says why in words of its own. So whatever Python offers a hook for becomes an event that
says where it came from and the type of the error, and `only_the_log` takes standard output and
standard error away from everything but the log: what nobody thought of is said to nobody.

A word now and then: a flood is one fact.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
import warnings
from types import TracebackType
from typing import Any, Final

from sealserve.inference.server.events import Event, log

QUIET_SECONDS: Final = 10.0
_STDOUT, _STDERR = 1, 2
# Libraries whose loggers are told apart, by the first word of a logger's name.
_LIBRARIES: Final = frozenset({"asyncio", "grpc", "uvicorn", "concurrent"})
_NO_ERROR: Final = "none"


def install() -> None:
    """Take every hook there is; before gRPC is imported, which reads its variables then."""
    os.environ["GRPC_VERBOSITY"] = "NONE"
    os.environ["GRPC_TRACE"] = ""
    faulthandler.disable()
    told = _Told()
    sys.excepthook = lambda kind, _error, _trace: told("main", kind)
    threading.excepthook = lambda given: told("thread", given.exc_type)
    sys.unraisablehook = lambda given: told("unraisable", given.exc_type)
    warnings.showwarning = lambda _message, category, *_: told("warnings", category)
    logging.raiseExceptions = False  # else a message that cannot be formatted is printed
    logging.root.handlers[:] = [_Handler(told)]
    logging.root.setLevel(logging.WARNING)


def only_the_log() -> None:
    """From now on nothing but the log reaches where standard error went."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = os.dup(_STDERR)  # not inherited by what is executed [PEP 446]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)
    log.write_to(os.fdopen(kept, "w", buffering=1, encoding="utf-8"))


class _Told:
    """Says that something happened, each thing now and then."""

    def __init__(self) -> None:
        self._quiet_until: dict[tuple[str, str], float] = {}

    def __call__(self, where: str, kind: type[BaseException] | None) -> None:
        error = _NO_ERROR if kind is None else kind.__name__
        now = time.monotonic()
        if now < self._quiet_until.get((where, error), 0.0):
            return
        self._quiet_until[where, error] = now + QUIET_SECONDS
        log(Event.UNFORESEEN, where=where, error=error)


class _Handler(logging.Handler):
    """For the root of all loggers: the library and the type of an error, without the message."""

    def __init__(self, told: _Told) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        library = record.name.partition(".")[0]
        self._told(library if library in _LIBRARIES else "logging", _kind(record.exc_info))


def _kind(information: Any) -> type[BaseException] | None:
    given: tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
    given = information or (None, None, None)
    return given[0]
