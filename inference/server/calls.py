"""How a call begins and ends: its one message, and the status that a failure becomes.

A caller learns the class of a failure and both sides of a mismatch in what it sent itself. What
nobody foresaw is INTERNAL without a word more, and the log gets its type, never its text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from sealserve.inference.server.admission import BusyError
from sealserve.inference.server.callers import CallerError
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.peers import PLACE
from sealserve.inference.server.registry import (
    NotDoneError,
    NotOfferedError,
    RootMismatchError,
    UnknownModelError,
)
from sealserve.inference.server.table import (
    NO_MODEL,
    OK,
    PREDICTIONS,
    Slot,
    Timing,
    method_number,
)
from sealserve.inference.wire import names
from sealserve.native.errors import InputError, SealserveError, UnavailableError

# A message travels as an HTTP/2 header, up to 12 bytes a character, of which clients take 8 KiB;
# the names it quotes are the caller's own and may be long.
_MAX_WORDS: Final = 500
# Of every call but a prediction: names, a version, a nonce.
_MAX_SMALL_BYTES: Final = 64 * 1024
Handler = Callable[[memoryview, Any], Awaitable[bytes]]
Status = tuple[Any, str, tuple[Any, ...]]  # what `abort` takes: code, words, trailing metadata
# Where the call that is running is counted; whoever finds its model says so. Each call runs in a
# task of its own.
ROW: ContextVar[int] = ContextVar("row", default=NO_MODEL)
CANCELLED: Final = grpc.StatusCode.CANCELLED.value[0]

# First match counts. What is not here is INTERNAL.
_STATUS: Final = (
    (CallerError, grpc.StatusCode.UNAUTHENTICATED),
    (UnknownModelError, grpc.StatusCode.NOT_FOUND),
    (RootMismatchError, grpc.StatusCode.FAILED_PRECONDITION),
    (NotDoneError, grpc.StatusCode.FAILED_PRECONDITION),
    (NotOfferedError, grpc.StatusCode.UNIMPLEMENTED),
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
)


class Count:
    """Counts calls of one method, or requests of its streams."""

    def __init__(self, slot: Slot, method: str) -> None:
        self._slot = slot
        self._number = method_number(method)
        self._prediction = method in PREDICTIONS

    def enter(self) -> int:
        """One begins; when that was."""
        self._slot.enter()
        return time.perf_counter_ns()

    def leave(self, began: int, outcome: int) -> None:
        """And ends. outcome: gRPC's number of its status."""
        row = ROW.get()
        self._slot.leave(row, self._number, outcome)
        if self._prediction:
            timing = Timing.FAILED if outcome else Timing.ANSWERED
            self._slot.took(row, timing, time.perf_counter_ns() - began)


def with_status(
    method: str, handler: Handler, seconds: float, slot: Slot
) -> Callable[[Any, Any], Awaitable[bytes]]:
    """seconds: longest a call may take, from its headers to its answer. slot: counts it."""
    count = Count(slot, method)

    async def handle(_messages: Any, context: Any) -> bytes:
        began = count.enter()
        outcome = CANCELLED  # unless it ends in another way
        try:
            async with asyncio.timeout(seconds):
                answer = await handler(await _read(context), context)
            outcome = OK
            return answer
        except Exception as error:  # every failure becomes a status, and none is quoted
            status = status_of(method, error, context)
            outcome = status[0].value[0]
        finally:
            count.leave(began, outcome)
        # Outside of `except`: what `abort` raises would carry the error, and with it every frame
        # that has the message.
        await context.abort(*status)
        raise AssertionError("abort raises")

    return handle


async def _read(context: Any) -> memoryview:
    """The one message of a call."""
    message = await context.read()
    if message is grpc.aio.EOF:
        raise InputError("the call ended before its message came")
    data: memoryview = message
    if (place := PLACE.get()) is not None:
        place.shrink(len(data))
    return data


def status_of(method: str, error: Exception, context: Any) -> Status:
    """What a failure becomes; one that nobody foresaw is logged."""
    trailing = context.trailing_metadata() or ()
    for kind, code in _STATUS:
        if isinstance(error, kind):
            return code, _words(error), (*trailing, *_pushback(error))
    log(Event.REQUEST_FAILED, method=method, error=type(error).__name__)
    return grpc.StatusCode.INTERNAL, "the server failed on this request", trailing


def _words(error: Exception) -> str:
    if not isinstance(error, SealserveError):
        return "the request took too long"
    return error.message if len(error.message) <= _MAX_WORDS else f"{error.message[:_MAX_WORDS]}…"


def _pushback(error: Exception) -> tuple[tuple[str, str], ...]:
    seconds = getattr(error, "retry_after_seconds", 0.0)
    return ((names.RETRY_PUSHBACK_KEY, str(int(seconds * 1000))),) if seconds else ()


def require_small(size: int) -> None:
    """InputError for a message of so many bytes that is not a prediction's."""
    if size > _MAX_SMALL_BYTES:
        raise InputError(f"the message has {size} bytes; {_MAX_SMALL_BYTES} are enough here")


def parse(message: Message, data: memoryview) -> None:
    require_small(len(data))
    try:
        message.ParseFromString(data)  # type: ignore[arg-type]  # the stubs know bytes alone
    except DecodeError as error:
        raise InputError("the message is not a protobuf message of this call") from error
