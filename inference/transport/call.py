"""One call, as its handler sees it: the part of `grpc.aio.ServicerContext` that ours use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import grpc

from sealserve.inference.transport import compression
from sealserve.inference.transport.metadata import Metadata, trailers

if TYPE_CHECKING:
    from sealserve.inference.transport.connection import Connection
    from sealserve.inference.transport.methods import Method
    from sealserve.native.http2 import Stream

# Bytes of a stream's answers that may wait to go before whoever writes them waits as well.
_MOST_UNSENT: Final = 64 * 1024
END: Final = grpc.aio.EOF


class AbortError(Exception):
    """Raised by `abort`; the caller has been told."""


class Call:
    """From its headers to the end of its stream, which comes after that of its handler."""

    __slots__ = (
        "_answering", "_connection", "_done", "_ended", "_metadata", "_reader", "_stopped",
        "_stream", "_task", "_timer", "_trailing", "_writer", "deadline", "encoding", "method",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        method: Method,
        metadata: Metadata,
        *,
        encoding: bytes,
        deadline: float | None,
    ) -> None:
        """encoding: of messages that are marked as compressed. deadline: on the loop's clock."""
        self._connection = connection
        self._stream = stream
        self.method = method
        self._metadata = metadata
        self.encoding = encoding
        self.deadline = deadline
        self._trailing: Metadata = ()
        self._answering = False
        self._ended = False
        self._stopped = False
        self._done: list[Callable[[Any], None]] = []
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---- what handlers call

    def peer(self) -> str:
        """Whose call it is, in gRPC's form: `ipv4:ADDRESS:PORT`, `ipv6:[ADDRESS]:PORT`, `unix:`."""
        return self._connection.peer

    @property
    def connection(self) -> object:
        """What it came on: one object for all calls of a connection, gone soon after it."""
        return self._connection

    def invocation_metadata(self) -> Metadata:
        """What the caller said before its messages."""
        return self._metadata

    def trailing_metadata(self) -> Metadata:
        """What the answer will say behind its messages."""
        return self._trailing

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = metadata

    def time_remaining(self) -> float | None:
        """Seconds until the caller waits no longer; None if it told of no time."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    def add_done_callback(self, done: Callable[[Any], None]) -> None:
        """Call this when the stream has ended, or at once if it has."""
        if self._stream.closed:
            done(self)
        else:
            self._done.append(done)

    async def read(self) -> Any:
        """The next message, `grpc.aio.EOF` behind the last one.

        Where its service has no function that reads messages, it is a view of bytes.
        """
        while (found := self._connection.take(self._stream)) is None:
            if self._stream.ended or self._ended:
                if self._stream.partial:
                    self._refuse(grpc.StatusCode.INTERNAL, "the call ended within a message")
                return END
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        compressed, data = found
        return self._decoded(await self._unpacked(data) if compressed else data)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is END:
            raise StopAsyncIteration
        return message

    async def write(self, message: Any) -> None:
        """One message of the answer; waits while too much of what was written has yet to go."""
        self.put(message)
        while self._stream.unsent > _MOST_UNSENT and not self._stream.closed:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> None:
        """End with this status, and raise AbortError."""
        if trailing_metadata:
            self._trailing = tuple(trailing_metadata)
        self.end(code, details)
        raise AbortError

    # ---- what the transport calls

    def start(self) -> None:
        """Run the handler."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run())
        if self.deadline is not None:
            self._timer = loop.call_at(self.deadline, self._too_late)

    async def only_message(self) -> Any:
        """The one message of a call that has one, for which a server has so much patience."""
        try:
            async with asyncio.timeout(self._connection.patience):
                message = await self.read()
        except TimeoutError:
            self._refuse(grpc.StatusCode.DEADLINE_EXCEEDED, "the request took too long")
        if message is END:
            self._refuse(grpc.StatusCode.INVALID_ARGUMENT, "the call ended before its message came")
        return message

    def put(self, message: Any) -> None:
        """One message of the answer, without waiting."""
        if self._ended:
            return
        if not self._answering:
            self._answering = True
            self._connection.respond(self._stream)
        self._connection.write(self._stream, self.method.encode(message))

    def end(self, code: grpc.StatusCode, words: str = "") -> None:
        """The status; the first one counts."""
        if self._ended:
            return
        lines = trailers(code.value[0], words, self._trailing)
        self._ended = True
        self._connection.end(self._stream, lines, begun=self._answering)

    def stop(self, code: grpc.StatusCode, words: str) -> None:
        """End, and with it the handler."""
        self.end(code, words)
        self._stop_handler()

    def happened(self) -> None:
        """Something came, went, or ended."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
        if self._stream.too_long:
            self._refuse_message()
        if self._stream.closed:
            self._closed()

    async def _run(self) -> None:
        try:
            await self.method.answer(self)
            self.end(grpc.StatusCode.OK)
        except AbortError:
            pass
        except asyncio.CancelledError:
            self.end(grpc.StatusCode.CANCELLED, "the call was cancelled")
        except Exception as error:  # whatever it was: its words are not for callers
            self._connection.failed(error)
            self._trailing = ()  # it may be what failed
            self.end(grpc.StatusCode.UNKNOWN, "the server failed on this call")

    def _too_late(self) -> None:
        self.stop(grpc.StatusCode.DEADLINE_EXCEEDED, "the request took too long")

    def _closed(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._stop_handler()
        done, self._done = self._done, []
        for each in done:
            each(self)

    def _stop_handler(self) -> None:
        """Once: what it has to tidy up then is not stopped again."""
        if self._task is not None and not self._stopped:
            self._stopped = True
            self._task.cancel()

    def _decoded(self, data: memoryview) -> Any:
        try:
            return self.method.decode(data)
        except Exception:  # which ones depends on the service
            self._refuse(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the message is not a protobuf message of this call",
            )

    async def _unpacked(self, data: memoryview) -> memoryview:
        most, thread = self._connection.message_bytes, self._connection.unpacking
        try:
            return memoryview(await compression.unpack(data, self.encoding, most, thread))
        except compression.TooLongError:
            self._refuse(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the message has more than {most} bytes, which are the most",
            )
        except compression.CompressionError as error:
            self._refuse(grpc.StatusCode.INTERNAL, str(error))

    def _refuse_message(self) -> None:
        size = self._stream.too_long
        if size < 0:
            self.stop(grpc.StatusCode.INTERNAL, "that is no message of gRPC")
            return
        most = self._connection.message_bytes
        self.stop(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the message has {size} bytes; {most} are the most",
        )

    def _refuse(self, code: grpc.StatusCode, words: str) -> NoReturn:
        self.stop(code, words)
        raise asyncio.CancelledError
