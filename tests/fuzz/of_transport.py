"""What a caller sends to the transport, before anybody knows who it is."""

from __future__ import annotations

from contextlib import suppress

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from sealserve.inference.transport.asked import read
from sealserve.inference.transport.refusal import NotGrpcError, RefusedError
from sealserve.native.errors import InputError
from sealserve.native.http2 import WINDOW_BYTES, Session, Stream
from support.fuzz_mutations import Target
from support.http2_peer import ANSWER, CALL, PREFACE, TRAILERS, message, parsed

MOST = 4096  # of a message, and of headers
CHUNKS = (1, 9, 40, 1000, 2**18)  # how bytes arrive, by the first of them
STREAMS = 8
CANCEL = 8


class Served:
    """A session, and a server that does with its streams what their numbers say."""

    def __init__(self) -> None:
        self.session = Session(max_message=MOST, max_headers=MOST, max_streams=STREAMS)
        self.closed: list[Stream] = []
        self.said = b""

    def receive(self, data: bytes) -> None:
        self.session.receive(data)
        for stream in self.session.touched():
            self._happened(stream)
        self.said += self.session.send()

    def _happened(self, stream: Stream) -> None:
        self._check(stream)
        if stream.opened and not stream.closed:
            _asked(stream)
            getattr(self, "_" + ("serve", "refuse", "reset", "ignore")[stream.id // 2 % 4])(stream)

    def _serve(self, stream: Stream) -> None:
        while (found := self.session.take(stream)) is not None:
            if stream.call is None:
                stream.call = "began"
                self.session.respond(stream, ANSWER)
            self.session.write(stream, bytes(found[1]))
        if (stream.ended or stream.too_long) and stream.call == "began":
            stream.call = "ended"
            self.session.finish(stream, TRAILERS)

    def _refuse(self, stream: Stream) -> None:
        if stream.call is None:
            stream.call = "ended"
            self.session.refuse(stream, [*ANSWER, *TRAILERS])

    def _reset(self, stream: Stream) -> None:
        self.session.take(stream)
        self.session.reset(stream, CANCEL)

    def _ignore(self, stream: Stream) -> None:
        self.session.ignore(stream)

    def _check(self, stream: Stream) -> None:
        assert sum(len(name) + len(value) + 32 for name, value in stream.headers) <= MOST
        assert (stream.id in self.session.streams) is not stream.closed
        assert len(self.session.streams) <= STREAMS

    def end(self) -> None:
        """As when the connection is lost: whoever serves a stream may still use it."""
        self.session.announce_end()
        self.session.begin_no_more()
        while part := self.session.send():
            self.said += part
        for stream in list(self.session.streams.values()):
            self.session.close(stream)
        for stream in self.session.touched():
            while self.session.take(stream) is not None:
                pass
            self.session.write(stream, b"late")
        assert self.session.streams == {}


def _asked(stream: Stream) -> None:
    with suppress(RefusedError, NotGrpcError):
        read(stream.headers)


def http2_session() -> Target:
    """Frames of a client: the first byte says in which pieces they come, the preface is given."""

    def run(data: bytes) -> None:
        served = Served()
        size = CHUNKS[data[0] % len(CHUNKS)] if data else 1
        try:
            served.receive(PREFACE)
            for at in range(1, len(data), size):
                served.receive(data[at : at + size])
        finally:
            served.end()
        ours = list(parsed(served.said))  # a peer that is not ours reads all of it
        assert all(frame.stream_id % 2 for frame in ours if frame.stream_id)

    return Target(run, [_said(4), _said(0, small=True), _said(3)], (InputError,))


def _said(pieces: int, *, small: bool = False) -> bytes:
    """Calls that are served, refused, reset and ignored; the first cancelled at the end."""
    writes = hpack.Encoder()
    settings = {SettingsFrame.INITIAL_WINDOW_SIZE: 10 if small else WINDOW_BYTES}
    frames: list[Frame] = [SettingsFrame(0, settings), SettingsFrame(0, flags=["ACK"])]
    for number in range(1, 11, 2):
        fields = [*CALL, ("grpc-timeout", "1S"), ("key-bin", "/wA")]
        frames.append(HeadersFrame(number, writes.encode(fields), flags=["END_HEADERS"]))
        frames.append(DataFrame(number, message(b"one") + message()))
        frames.append(DataFrame(number, b"", flags=["PADDED"], pad_length=3))
    frames.append(DataFrame(1, message(bytes(100)), flags=["END_STREAM"]))
    frames.append(WindowUpdateFrame(1, window_increment=50))
    frames.append(PingFrame(0, b"12345678"))
    frames.append(RstStreamFrame(9, error_code=CANCEL))
    return bytes([pieces]) + b"".join(frame.serialize() for frame in frames)


def grpc_headers() -> Target:
    """`NAME: VALUE` in lines, as headers of a call; what they ask for is a time and metadata."""

    def run(data: bytes) -> None:
        lines = [line.partition(b": ") for line in data.split(b"\n")]
        asked = read([(name, value) for name, _, value in lines if name.isascii()])
        assert asked.seconds is None or 0 <= asked.seconds < 1e12
        for name, value in asked.metadata:
            assert isinstance(value, bytes if name.endswith("-bin") else str)

    every = [*CALL, ("grpc-timeout", "1S"), ("grpc-encoding", "gzip"), ("key-bin", "/wA,YQ==")]
    seed = "\n".join(f"{name}: {value}" for name, value in every).encode()
    return Target(run, [seed], (RefusedError, NotGrpcError))
