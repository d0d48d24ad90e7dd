"""What goes: answers, ends, and what a caller may do meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, RstStreamFrame

from sealserve.native.errors import InputError
from sealserve.native.http2 import Session, Stream
from support.http2_peer import ANSWER, CANCEL, ENOUGH, TRAILERS, Peer, content, kinds, message

OUR_LONGEST_SEND = 256 * 1024 + 64 * 1024
LONG = bytes(range(256)) * 4096 * 3  # 3 MiB
_NO_ERROR = 0


def answered(peer: Peer, stream: Stream, *messages: bytes) -> None:
    peer.session.respond(stream, ANSWER)
    for one in messages:
        peer.session.write(stream, one)
    peer.session.finish(stream, TRAILERS)


def codes(frames: list[object]) -> list[int]:
    """Of the resets among them."""
    return [int(frame.error_code) for frame in frames if isinstance(frame, RstStreamFrame)]


# ---- answers


def test_an_answer() -> None:
    peer = Peer()
    answered(peer, peer.begin(end=True), b"one", b"", b"two")
    frames = peer.frames()
    assert kinds(frames) == [("Headers", 1), ("Data", 1), ("Headers", 1)]
    begin, data, end = frames
    assert peer.fields(begin) == [(":status", "200"), ("content-type", "application/grpc")]
    assert data.data == message(b"one") + message() + message(b"two")
    assert peer.fields(end) == [("grpc-status", "0")]
    assert [("END_STREAM" in frame.flags) for frame in frames] == [False, False, True]


def test_an_answer_without_a_message() -> None:
    peer = Peer()
    answered(peer, peer.begin(end=True))
    assert kinds(peer.frames()) == [("Headers", 1), ("Headers", 1)]


def test_a_refusal_is_headers_and_nothing_else() -> None:
    peer = Peer()
    stream = peer.begin(end=True)
    peer.session.refuse(stream, [*ANSWER, *TRAILERS])
    (frame,) = peer.frames()
    assert "END_STREAM" in frame.flags
    assert peer.fields(frame)[-1] == ("grpc-status", "0")
    assert stream.closed


def test_an_answer_in_parts_goes_as_it_is_written() -> None:
    peer = Peer()
    stream = peer.begin(end=True)
    peer.session.respond(stream, ANSWER)
    assert kinds(peer.frames()) == [("Headers", 1)]
    for part in (b"a", b"b"):
        peer.session.write(stream, part)
        assert content(peer.frames()) == message(part)
        assert stream.unsent == 0
    assert peer.session.send() == b""
    peer.session.finish(stream, TRAILERS)
    assert kinds(peer.frames()) == [("Headers", 1)]


def test_whoever_waits_for_room_is_told_when_all_has_gone() -> None:
    peer = Peer(window=8)
    stream = peer.begin(end=True)
    peer.session.respond(stream, ANSWER)
    peer.session.write(stream, b"12345")
    peer.session.touched()
    assert content(peer.frames()) == message(b"12345")[:8]
    assert stream.unsent == 2
    assert peer.session.touched() == []
    peer.allow(1, 2)
    peer.frames()
    assert stream.unsent == 0
    assert peer.session.touched() == [stream]


@pytest.mark.parametrize("window", [1, 100, 65_535])
def test_long_answers_under_small_windows(window: int) -> None:
    peer = Peer(window=window)
    text = LONG[: 50 * window]
    answered(peer, peer.begin(end=True), text)
    got = b""
    while len(got) < len(text) + 5:
        part = content(frames := peer.frames())
        assert 0 < len(part) <= window
        assert all(len(frame.data) <= 16_384 for frame in frames if isinstance(frame, DataFrame))
        got += part
        peer.allow(0, len(part))
        peer.allow(1, len(part))
    assert got == message(text)
    assert kinds(frames)[-1] == ("Headers", 1)


def test_a_window_of_nothing() -> None:
    peer = Peer(window=0)
    stream = peer.begin(end=True)
    answered(peer, stream, b"x")
    assert kinds(peer.frames()) == [("Headers", 1)]
    peer.allow(1, 100)
    assert kinds(peer.frames()) == [("Data", 1), ("Headers", 1)]


def test_a_send_gives_a_part_of_what_goes() -> None:
    peer = Peer(window=2**31 - 1)
    peer.allow(0, ENOUGH)
    answered(peer, peer.begin(end=True), LONG)
    parts = []
    while part := peer.session.send():
        parts.append(part)
    assert len(parts) > 3
    assert max(map(len, parts)) <= OUR_LONGEST_SEND


def test_trailers_longer_than_a_frame() -> None:
    peer = Peer()
    stream = peer.begin(end=True)
    long = [(f"key-{number}".encode(), b"\xe9" * 200) for number in range(100)]
    peer.session.refuse(stream, [*ANSWER, *long])
    begin, *rest = peer.frames()
    assert {kind for kind, _ in kinds(rest)} == {"Continuation"}
    begin.data += b"".join(frame.data for frame in rest)
    assert len(peer.fields(begin)) == len(ANSWER) + len(long)


def test_streams_take_turns() -> None:
    peer = Peer(window=2**31 - 1)
    peer.allow(0, ENOUGH)
    for number in (1, 3):
        answered(peer, peer.begin(number, end=True), LONG)
    order = [frame.stream_id for frame in peer.frames() if isinstance(frame, DataFrame)]
    assert set(order[: len(order) // 4]) == {1, 3}


def test_a_caller_that_still_sends_is_told_to_stop() -> None:
    peer = Peer()
    stream = peer.begin()
    answered(peer, stream, b"x")
    frames = peer.frames()
    assert kinds(frames)[-1] == ("RstStream", 1)
    assert codes(frames) == [_NO_ERROR]
    assert stream.closed


def test_a_caller_that_has_ended_is_not_reset() -> None:
    peer = Peer()
    stream = peer.begin(end=True)
    answered(peer, stream, b"x")
    assert codes(peer.frames()) == []
    assert stream.closed
    assert peer.session.streams == {}
    assert stream in peer.session.touched()


# ---- ends in the middle

STAGES: dict[str, Callable[[Peer, Stream], object]] = {
    "headers": lambda peer, stream: None,
    "half a message": lambda peer, stream: peer.send(1, message(b"half")[:7]),
    "a message": lambda peer, stream: peer.send(1, message(b"whole")),
    "its end": lambda peer, stream: peer.send(1, message(b"whole"), end=True),
    "a message that was taken": lambda peer, stream: (
        peer.send(1, message(b"whole")),
        peer.session.take(stream),
    ),
    "ignored": lambda peer, stream: peer.session.ignore(stream),
    "an answer that was not sent": lambda peer, stream: peer.session.respond(stream, ANSWER),
    "an answer that begins": lambda peer, stream: (
        peer.session.respond(stream, ANSWER),
        peer.frames(),
    ),
    "an answer that waits": lambda peer, stream: (
        peer.session.respond(stream, ANSWER),
        peer.session.write(stream, LONG),
        peer.frames(),
    ),
    "trailers that wait": lambda peer, stream: (
        answered(peer, stream, LONG),
        peer.frames(),
    ),
    "a refusal that was not sent": lambda peer, stream: peer.session.refuse(stream, ANSWER),
}
of_stages = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)


def nothing_is_left(peer: Peer, stream: Stream) -> None:
    assert stream.closed
    assert peer.session.streams == {}
    assert stream in peer.session.touched()
    # Whoever has not heard of it may still use it.
    peer.session.take(stream)
    peer.session.ignore(stream)
    peer.session.respond(stream, ANSWER)
    peer.session.write(stream, b"late")
    peer.session.finish(stream, TRAILERS)
    peer.session.refuse(stream, ANSWER)
    peer.session.reset(stream, CANCEL)
    assert not any(frame.stream_id == 1 for frame in peer.frames())


def still_serves(peer: Peer) -> None:
    assert peer.session.alive
    peer.allow(0, ENOUGH)
    answered(peer, peer.begin(3, end=True), b"next")
    assert content(peer.frames(), 3) == message(b"next")


@of_stages
def test_a_caller_that_cancels(stage: Callable[[Peer, Stream], object]) -> None:
    peer = Peer()
    stream = peer.begin()
    stage(peer, stream)
    peer.cancel(1)
    nothing_is_left(peer, stream)
    still_serves(peer)


@of_stages
def test_a_stream_that_is_reset(stage: Callable[[Peer, Stream], object]) -> None:
    peer = Peer()
    stream = peer.begin()
    stage(peer, stream)
    peer.session.reset(stream, CANCEL)
    assert codes(peer.frames()) == [CANCEL]
    nothing_is_left(peer, stream)
    peer.send(1, message(b"was on its way"))
    still_serves(peer)


@of_stages
def test_a_stream_whose_connection_is_gone(stage: Callable[[Peer, Stream], object]) -> None:
    peer = Peer()
    stream = peer.begin()
    stage(peer, stream)
    peer.session.close(stream)
    assert stream.closed
    assert peer.session.streams == {}
    assert stream in peer.session.touched()
    peer.session.write(stream, b"late")
    peer.session.respond(stream, ANSWER)
    peer.session.take(stream)


# ---- the end of a connection


def goaways(peer: Peer) -> list[tuple[int, int]]:
    return [
        (int(frame.last_stream_id), int(frame.error_code))
        for frame in peer.frames()
        if isinstance(frame, GoAwayFrame)
    ]


def test_an_end_that_is_announced_takes_what_is_on_its_way() -> None:
    peer = Peer()
    peer.begin(1)
    peer.session.announce_end()
    assert goaways(peer) == [(2**31 - 1, _NO_ERROR)]
    assert peer.begin(3).opened
    assert peer.session.alive


def test_an_end_takes_what_is_open_and_no_more() -> None:
    peer = Peer()
    stream = peer.begin(1, end=True)
    peer.session.announce_end()
    peer.session.begin_no_more()
    assert goaways(peer) == [(2**31 - 1, _NO_ERROR), (1, _NO_ERROR)]
    peer.give(peer.headers(3))
    assert set(peer.session.streams) == {1}
    assert peer.session.alive
    answered(peer, stream, b"last")
    assert content(peer.frames()) == message(b"last")
    assert not peer.session.alive


def test_an_end_without_streams_is_at_once() -> None:
    peer = Peer()
    peer.session.announce_end()
    peer.session.begin_no_more()
    assert peer.session.alive
    assert goaways(peer) == [(2**31 - 1, _NO_ERROR), (0, _NO_ERROR)]
    assert not peer.session.alive


def test_ends_may_be_said_twice() -> None:
    peer = Peer()
    for _ in range(2):
        peer.session.announce_end()
        peer.session.begin_no_more()
    assert goaways(peer)[-1] == (0, _NO_ERROR)


def test_a_caller_that_says_it_ends_gets_its_answers() -> None:
    peer = Peer()
    stream = peer.begin(end=True)
    peer.give(GoAwayFrame(0, last_stream_id=0, error_code=_NO_ERROR))
    answered(peer, stream, b"x")
    assert content(peer.frames()) == message(b"x")
    assert not peer.session.alive


# ---- how many streams


def test_one_stream_more_than_may_be() -> None:
    peer = Peer(max_streams=2)
    first, second = peer.begin(1, end=True), peer.begin(3, end=True)
    answered(peer, first)
    peer.frames()
    assert first.closed
    assert peer.begin(5).opened  # in the place that is free again
    peer.give(peer.headers(7))
    assert set(peer.session.streams) == {3, 5}
    assert kinds(peer.frames()) == [("GoAway", 0)]
    assert not peer.session.alive
    assert not second.closed  # until its connection is


def test_the_limit_holds_before_it_was_acknowledged() -> None:
    peer = Peer(max_streams=1, greet=False)
    peer.give(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0\0\0\0\0")
    peer.begin(1)
    peer.give(peer.headers(3))
    assert set(peer.session.streams) == {1}
    assert ("RstStream", 3) in kinds(peer.frames())
    assert peer.session.alive


# ---- misuse


def test_messages_and_streams_have_to_be_what_they_are() -> None:
    peer = Peer()
    stream = peer.begin()
    with pytest.raises(TypeError):
        peer.session.receive("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        peer.session.write(stream, memoryview(b"x"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        peer.session.take(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        peer.session.respond(stream, [(b":status", "200")])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="unpack"):
        peer.session.respond(stream, [(b":status",)])  # type: ignore[list-item]
    answered(peer, stream, b"x")
    assert content(peer.frames()) == message(b"x")


def test_trailers_that_are_none_fail_where_they_are_sent() -> None:
    """Whatever a callback of the library raises comes out of the call that caused it."""
    peer = Peer()
    stream = peer.begin(end=True)
    peer.session.respond(stream, ANSWER)
    peer.session.finish(stream, [("grpc-status", "0")])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        peer.frames()


def test_a_session_that_nobody_greeted() -> None:
    session = Session(max_message=1, max_headers=1, max_streams=1)
    assert session.alive
    assert session.send()
    assert session.send() == b""
    with pytest.raises(InputError, match="no HTTP/2"):
        session.receive(b"GET / HTTP/1.1\r\n\r\n")
