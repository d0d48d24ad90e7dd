"""ModelStreamInfer: many requests in one call, each answered once, in the order they came.

That is Triton's order for models that give one answer to a request, as all of ours do. An error is
an answer too, and the stream goes on; unless its caller sent `triton_grpc_error: true`, as Triton's
clients may: then the first error ends it, with a status of its own. What is read and not answered
is bounded. Beyond that a stream is not read, which its sender feels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from sealserve.inference.server.calls import CANCELLED, Count, Status, status_of
from sealserve.inference.server.peers import holding
from sealserve.inference.server.table import OK, Slot
from sealserve.inference.wire.infer import IncomingRequest, encode_stream_error
from sealserve.native.errors import UnavailableError

IN_FLIGHT: Final = 16  # of one stream, read and not answered: what a batch takes, and not more
_METHOD: Final = "ModelStreamInfer"
_ERRORS_END_IT: Final = ("triton_grpc_error", "true")
Predict = Callable[[IncomingRequest], Awaitable[bytes]]


class Streams:
    """What all streams of a server have together.

    seconds: longest that a request may take, an answer may wait to be taken, and a stream may be
    idle. requests: how many are read and not answered, of all of them; one of each stream may be in
    any case. slot: counts each request of a stream like a call, and an idle stream not at all.
    """

    def __init__(self, *, seconds: float, requests: int, slot: Slot) -> None:
        self.seconds = seconds
        self.count = Count(slot, _METHOD)
        self._requests = requests
        self._taken = 0  # places beside the one of each stream
        self._open: set[Stream] = set()
        self._draining = False

    async def serve(self, context: Any, predict: Predict) -> None:
        """One stream, from its first message to its last answer."""
        stream = Stream(self, context, predict)
        if self._draining:
            stream.end(_stopping())
        self._open.add(stream)
        try:
            status = await stream.run()
        finally:
            self._open.discard(stream)
        if status is not None:
            await context.abort(*status)

    def drain(self) -> None:
        """No stream is read any more; each ends once what it sent so far is answered."""
        self._draining = True
        for stream in self._open:
            stream.end(_stopping())

    def take_place(self) -> bool:
        """Whether there was a place; it is the caller's then."""
        if len(self._open) + self._taken >= self._requests:
            return False
        self._taken += 1
        return True

    def give_back(self, places: int) -> None:
        """Places that were taken."""
        self._taken -= places


@dataclass(frozen=True, slots=True)
class _Failure:
    """A request without a result. told: what the stream says of it."""

    told: bytes
    status: Status


_Answers = asyncio.Queue[asyncio.Task[bytes | _Failure] | None]


class Stream:
    """One call: a task that reads, a task for each request, and whoever runs it, who writes."""

    def __init__(self, together: Streams, context: Any, predict: Predict) -> None:
        self._together = together
        self._context = context
        self._predict = predict
        self._answers: _Answers = asyncio.Queue()  # in the order of the requests; None: no more
        self._requests: set[asyncio.Task[bytes | _Failure]] = set()  # read and not answered
        self._places = 0  # taken from the others, beside the one of its own
        self._freed = asyncio.Event()
        self._heard = True  # since `_watch` looked
        self._why_no_more: Exception | None = None
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(lambda _: self._answers.put_nowait(None))

    def end(self, error: Exception) -> None:
        """Read no more, and end with this once everything that was read is answered."""
        self._why_no_more = error
        self._reader.cancel()

    async def run(self) -> Status | None:
        """How the stream ends; None is well. Leaves nothing running, however that is."""
        self._watch()
        try:
            return await self._write()
        except Exception as error:
            return status_of(_METHOD, error, self._context)
        finally:
            self._watching.cancel()
            await self._abandon()

    async def _read(self) -> None:
        while True:
            await self._wait_for_place()
            message = await self._context.read()
            if message is grpc.aio.EOF:
                return
            self._heard = True
            request = asyncio.create_task(self._answer(message))
            self._requests.add(request)
            self._answers.put_nowait(request)
            del message, request  # or the next read would keep them

    async def _answer(self, message: memoryview) -> bytes | _Failure:
        model = version = id = ""
        began, outcome = self._together.count.enter(), CANCELLED
        try:
            async with asyncio.timeout(self._together.seconds):
                with holding(len(message)):
                    incoming = IncomingRequest(message)
                    model, version, id = incoming.model, incoming.version, incoming.id
                    answer = await self._predict(incoming)
            outcome = OK
            return answer
        except Exception as error:  # every failure becomes words, and none is quoted
            status = status_of(_METHOD, error, self._context)
            outcome = status[0].value[0]
        finally:
            self._together.count.leave(began, outcome)
        return _Failure(encode_stream_error(status[1], model=model, version=version, id=id), status)

    async def _write(self) -> Status | None:
        while (request := await self._answers.get()) is not None:
            answer = await request
            if isinstance(answer, _Failure) and self._errors_end_it():
                return answer.status
            async with asyncio.timeout(self._together.seconds):
                await self._context.write(answer.told if isinstance(answer, _Failure) else answer)
            self._answered(request)
            del request, answer
        if self._why_no_more is None:
            await self._reader
            return None
        return status_of(_METHOD, self._why_no_more, self._context)

    async def _wait_for_place(self) -> None:
        """Its first place a stream has for itself, so that each one goes on, if slowly."""
        while self._requests and not self._take_place():
            self._freed.clear()
            await self._freed.wait()

    def _take_place(self) -> bool:
        if len(self._requests) >= IN_FLIGHT or not self._together.take_place():
            return False
        self._places += 1
        return True

    def _answered(self, request: asyncio.Task[bytes | _Failure]) -> None:
        self._requests.remove(request)
        if self._places:
            self._places -= 1
            self._together.give_back(1)
        self._freed.set()

    def _watch(self) -> None:
        """Look now and then whether anything happens: a stream is one of so many calls."""
        if not (self._heard or self._requests):
            self.end(UnavailableError("the stream was idle for too long; open another"))
        self._heard = False
        loop = asyncio.get_running_loop()
        self._watching = loop.call_later(self._together.seconds, self._watch)

    def _errors_end_it(self) -> bool:
        return _ERRORS_END_IT in (self._context.invocation_metadata() or ())

    async def _abandon(self) -> None:
        """Stop reading and drop what is not answered: nobody would take it."""
        left = [self._reader, *self._requests]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._together.give_back(self._places)


def _stopping() -> UnavailableError:
    return UnavailableError(
        "this server is being stopped; open another stream for the requests without an answer"
    )
