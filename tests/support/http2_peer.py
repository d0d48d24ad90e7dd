"""The caller's side of a `Session`, frame by frame, in memory.

What is read and written is hyperframe's and hpack's, which are not ours: an error in our reading of
RFC 9113 would not be made a second time here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from sealserve.native.http2 import Session, Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16_384  # the longest that nobody has to ask for
CANCEL = 8
Fields = Iterable[tuple[str | bytes, str | bytes]]
CALL = (
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/some.Service/Method"),
    (":authority", "sealserve.internal"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
ANSWER = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS = [(b"grpc-status", b"0")]
ENOUGH = 2**31 - 1 - 65_535  # of leave: the most there can be [RFC 9113, section 6.9.1]


def message(content: bytes = b"", *, flag: int = 0, announced: int | None = None) -> bytes:
    """As gRPC puts one into a stream. announced: its length, if that is not the truth."""
    size = len(content) if announced is None else announced
    return bytes([flag]) + size.to_bytes(4, "big") + content


class Peer:
    """One connection: what is given to its session, and what the session says."""

    def __init__(
        self,
        *,
        max_message: int = 2**22,
        max_headers: int = 16_384,
        max_streams: int = 100,
        window: int = 65_535,
        greet: bool = True,
    ) -> None:
        """window: how many bytes of each answer this side takes before it says more."""
        self.session = Session(
            max_message=max_message, max_headers=max_headers, max_streams=max_streams
        )
        self._writes, self._reads = hpack.Encoder(), hpack.Decoder()
        if greet:
            settings = {SettingsFrame.INITIAL_WINDOW_SIZE: window}
            self.give(PREFACE, SettingsFrame(0, settings))
            self.frames()
            self.give(SettingsFrame(0, flags=["ACK"]))

    # ---- what it says

    def give(self, *parts: Frame | bytes) -> None:
        data = (part if isinstance(part, bytes) else part.serialize() for part in parts)
        self.session.receive(b"".join(data))

    def headers(
        self, stream: int, fields: Fields = CALL, *, end: bool = False, cut: bool = False
    ) -> Frame:
        """cut: the block goes on in a frame of its own."""
        flags = [*(["END_STREAM"] if end else []), *([] if cut else ["END_HEADERS"])]
        return HeadersFrame(stream, self._writes.encode(list(fields)), flags=flags)

    def begin(self, stream: int = 1, fields: Fields = CALL, *, end: bool = False) -> Stream:
        """The headers of a call, and what the session made of them."""
        self.give(self.headers(stream, fields, end=end))
        return self.session.streams[stream]

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """In as many frames as it takes."""
        parts = [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)] or [b""]
        for part in parts[:-1]:
            self.give(DataFrame(stream, part))
        self.give(DataFrame(stream, parts[-1], flags=["END_STREAM"] if end else []))

    def cancel(self, stream: int, code: int = CANCEL) -> None:
        self.give(RstStreamFrame(stream, error_code=code))

    def allow(self, stream: int, size: int) -> None:
        """Leave to send so many bytes more. stream: 0 is the whole connection."""
        self.give(WindowUpdateFrame(stream, window_increment=size))

    # ---- what it hears

    def frames(self) -> list[Any]:
        """All that goes now."""
        sent = b""
        while more := self.session.send():
            sent += more
        return list(parsed(sent))

    def fields(self, frame: Any) -> list[tuple[str, str]]:
        """Of a frame of headers; to be asked once for each, in their order."""
        pairs = self._reads.decode(frame.data, raw=True)
        return [(name.decode(), value.decode("latin-1")) for name, value in pairs]

    def leave(self, stream: int) -> int:
        """How many bytes more may be sent on, which is told now."""
        return sum(
            frame.window_increment
            for frame in self.frames()
            if isinstance(frame, WindowUpdateFrame) and frame.stream_id == stream
        )

    def taken(self, stream: Stream) -> list[tuple[bool, bytes]]:
        """All messages that are there."""
        found = []
        while (one := self.session.take(stream)) is not None:
            found.append(one)
        return found


def parsed(data: bytes) -> Iterable[Frame]:
    while data:
        frame, size = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + size]))
        yield frame
        data = data[9 + size :]


def kinds(frames: Iterable[Frame]) -> list[tuple[str, int]]:
    """What came of which streams, for comparison."""
    return [(type(frame).__name__.removesuffix("Frame"), frame.stream_id) for frame in frames]


def content(frames: Iterable[Any], stream: int = 1) -> bytes:
    """The bytes of an answer."""
    return b"".join(
        frame.data for frame in frames if isinstance(frame, DataFrame) and frame.stream_id == stream
    )
