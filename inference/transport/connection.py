"""One connection: its socket, TLS and HTTP/2, and the calls on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import grpc

from sealserve.inference.transport.asked import read
from sealserve.inference.transport.call import Call
from sealserve.inference.transport.metadata import ANSWER, Pair, trailers
from sealserve.inference.transport.refusal import NotGrpcError, RefusedError
from sealserve.inference.transport.tls import Tls, TlsError
from sealserve.inference.wire import names
from sealserve.native.errors import InputError
from sealserve.native.http2 import Session

if TYPE_CHECKING:
    from sealserve.inference.transport.server import Server
    from sealserve.native.http2 import Stream

HANDSHAKE_SECONDS: Final = 10.0
LATE_SECONDS: Final = 2.0  # for one that is under way when no more calls are wanted
# Between asking for no more calls and taking none: what was sent meanwhile is on its way.
NOTICE_SECONDS: Final = 0.1
LAST_WORDS_SECONDS: Final = 1.0  # that a peer who broke the protocol has to read why it ends
_JITTER: Final = 0.1  # of an age: connections made at the same time do not end so
_SEND_AHEAD: Final = 1024 * 1024  # bytes that may wait in the socket's buffer
_CAME: Final = memoryview(bytearray(256 * 1024))  # what one reading of a socket may bring; of all
_CANCEL: Final = 8  # RFC 9113 section 7
_COME_BACK: Final = ((names.RETRY_PUSHBACK_KEY, "500"),)


class Connection(asyncio.BufferedProtocol):
    """A client's, from `accept` on."""

    def __init__(self, server: Server, tls: Tls | None, peer: str) -> None:
        """tls: None on a socket that needs none. peer: its address, as gRPC writes it."""
        limits = server.limits
        self._server = server
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._http = Session(
            max_message=limits.message_bytes,
            max_headers=limits.metadata_bytes,
            max_streams=limits.streams,
        )
        self.message_bytes = limits.message_bytes
        self.patience = limits.patience
        self.unpacking = server.unpacking
        self.peer = peer
        self._paused = False
        self._flushing = False
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by what they do
        self._unread: dict[Stream, float] = {}  # answers that are made, and since when
        self._looking = False
        self._retiring = False

    # ---- asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_SEND_AHEAD)
        spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  no secret
        self._in("retire", self._server.limits.seconds * spread, self.retire)
        if self._tls is None:
            self._flush()
        else:
            self._in("handshake", HANDSHAKE_SECONDS, self._transport.abort)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return _CAME

    def buffer_updated(self, size: int) -> None:
        data = _CAME[:size]
        try:
            if self._tls is None:
                self._http.receive(data)
            else:
                self._receive(self._tls, data)
        except InputError:
            self._flush()  # why HTTP/2 ends here
            self._close(LAST_WORDS_SECONDS)
            return
        except TlsError as error:
            self._write(error.alert)  # nothing else can be sealed
            self._close(LAST_WORDS_SECONDS)
            return
        self._look_around()
        self._flush_soon()

    def pause_writing(self) -> None:
        """Whoever reads nothing would not hear of anything else either."""
        self._paused = True
        self._in("unread", self.patience, self._transport.abort)

    def resume_writing(self) -> None:
        self._paused = False
        self._timers["unread"].cancel()
        self._flush_soon()

    def eof_received(self) -> None:
        self._close(self.patience)

    def connection_lost(self, _error: Exception | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for stream in list(self._http.streams.values()):
            self._http.close(stream)
        self._look_around()
        self._server.leave(self)

    # ---- the server calls these

    @property
    def calls(self) -> list[Call]:
        """Those that are not over."""
        return [each.call for each in self._http.streams.values() if each.call is not None]

    def retire(self) -> None:
        """No new calls; ends with the last of its own, or after the grace that calls have."""
        if self._transport.is_closing():
            return
        if self._tls is not None and not self._tls.ready:
            self._retiring = True
            self._in("handshake", LATE_SECONDS, self._transport.abort)
            return
        self._http.announce_end()
        self._flush_soon()
        self._in("no more", NOTICE_SECONDS, self._begin_no_more)
        self._in("abort", NOTICE_SECONDS + self._server.limits.grace, self._transport.abort)

    def abort(self) -> None:
        """End, whatever is under way."""
        self._transport.abort()

    # ---- its calls call these

    def take(self, stream: Stream) -> tuple[bool, memoryview] | None:
        found = self._http.take(stream)
        if found is not None:
            self._flush_soon()  # there may be leave to send more
        return found

    def respond(self, stream: Stream) -> None:
        self._http.respond(stream, ANSWER)

    def write(self, stream: Stream, message: bytes) -> None:
        if not stream.closed:
            self._http.write(stream, message)
            self._flush_soon()

    def end(self, stream: Stream, lines: list[Pair], *, begun: bool) -> None:
        if stream.closed:
            return
        self._http.ignore(stream)
        if begun:
            self._http.finish(stream, lines)
        else:
            self._http.refuse(stream, [*ANSWER, *lines])
        self._unread[stream] = self._loop.time()
        self._flush_soon()

    def failed(self, error: Exception) -> None:
        """Tell whoever listens to the loop: a handler raised what it should not."""
        told = {"message": "a handler of gRPC failed", "exception": error}
        self._loop.call_exception_handler(told)

    # ---- the rest is its own

    def _receive(self, tls: Tls, data: memoryview) -> None:
        was_ready = tls.ready
        for plain in tls.open(data):
            self._http.receive(plain)
        if tls.ready and not was_ready:
            self._timers["handshake"].cancel()
            if self._retiring:
                self.retire()
        if tls.ended:
            self._close(self.patience)

    def _look_around(self) -> None:
        for stream in self._http.touched():
            call = stream.call
            if call is None and stream.opened and not stream.closed:
                call = self._begin(stream)
            if call is not None:
                call.happened()
            if stream.closed:
                self._unread.pop(stream, None)
                stream.call = None  # or each would be the other's until somebody looks for circles

    def _begin(self, stream: Stream) -> Call | None:
        """The call of a stream whose headers came; None if they are refused."""
        try:
            stream.call = call = self._call(stream)
        except NotGrpcError as error:
            self._http.ignore(stream)
            self._http.refuse(stream, [(b":status", error.status)])
            return None
        except RefusedError as error:
            lines = trailers(error.code.value[0], error.words, error.metadata)
            self.end(stream, lines, begun=False)
            return None
        self._server.begin()
        call.add_done_callback(self._server.ended)
        call.start()
        return call

    def _call(self, stream: Stream) -> Call:
        self._require_room(stream)
        asked = read(stream.headers)
        method = self._server.method(asked.path, asked.metadata)
        if method is None:
            raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
        deadline = None if asked.seconds is None else self._loop.time() + asked.seconds
        return Call(
            self, stream, method, asked.metadata, encoding=asked.encoding, deadline=deadline
        )

    def _require_room(self, stream: Stream) -> None:
        """Before anything else is done for a call: under overload most are refused."""
        limits = self._server.limits
        if self._server.is_full:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{limits.calls} calls are under way, which is this server's limit",
                _COME_BACK,
            )
        if stream.headers_too_long:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"metadata may have {limits.metadata_bytes} bytes",
            )

    def _begin_no_more(self) -> None:
        self._http.begin_no_more()
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Once for all that happens in this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport.is_closing():
            return
        if self._tls is not None:
            self._write(self._tls.outgoing())
            if not self._tls.ready:
                return
        while not self._paused and (data := self._http.send()):
            self._write(data if self._tls is None else self._tls.seal(data))
        self._look_around()
        if self._unread and not self._looking:
            self._looking = True
            self._in("give up", self._server.limits.patience, self._give_up)
        if not self._http.alive:
            self._close(self.patience)

    def _close(self, seconds: float) -> None:
        """End when all that was said has gone, or has not gone for so long."""
        self._transport.close()
        self._in("abort", seconds, self._transport.abort)

    def _write(self, data: bytes) -> None:
        if data:
            self._transport.write(data)

    def _give_up(self) -> None:
        """On answers that nobody took for as long as a call may last."""
        self._looking = False
        before = self._loop.time() - self._server.limits.patience
        for stream, since in self._unread.items():
            if since <= before:
                self._http.reset(stream, _CANCEL)
        self._flush_soon()

    def _in(self, name: str, seconds: float, do: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_later(seconds, do)


def peer_at(address: Any) -> str:
    """An address of a socket in gRPC's form."""
    if not isinstance(address, tuple):
        return "unix:"
    host, port = address[:2]
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
