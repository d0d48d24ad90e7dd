"""What comes: headers, messages, and how much of them is ever kept."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, RstStreamFrame

from sealserve.native.http2 import WINDOW_BYTES
from support.http2_peer import ANSWER, CALL, FRAME_BYTES, Peer, content, kinds, message

TWO = message(b"first") + message() + message(b"the third", flag=1)
FULL = message(b"a") + message(bytes(WINDOW_BYTES - 11))  # a window, and the first is complete
READ = [(False, b"first"), (False, b""), (True, b"the third")]


# ---- headers


def test_headers_are_given_as_they_came() -> None:
    peer = Peer()
    fields = [*CALL, ("key", "one"), ("key", "two"), ("raw", b"\xff")]
    stream = peer.begin(fields=fields)
    assert stream.opened
    assert not stream.ended
    as_bytes = [tuple(x.encode() if isinstance(x, str) else x for x in pair) for pair in fields]
    assert stream.headers == as_bytes
    assert peer.session.touched() == [stream]
    assert peer.session.touched() == []


def test_headers_in_pieces_are_opened_with_the_last() -> None:
    peer = Peer()
    whole = peer.headers(1).data
    first = peer.headers(1, cut=True)
    first.data = whole[:9]
    peer.give(first)
    assert not peer.session.streams[1].opened
    peer.give(ContinuationFrame(1, whole[9:], flags=["END_HEADERS"]))
    assert peer.session.streams[1].opened


@pytest.mark.parametrize(("beyond", "refused"), [(0, False), (1, True)])
def test_headers_may_have_so_many_bytes(beyond: int, refused: bool) -> None:
    counted = sum(len(name) + len(value) + 32 for name, value in CALL)
    peer = Peer(max_headers=counted + 32 + 5 - beyond)
    stream = peer.begin(fields=[*CALL, ("a", "1234")])
    assert stream.opened
    assert stream.headers_too_long is refused
    assert len(stream.headers) == len(CALL) + (not refused)


def test_trailers_of_a_request_end_it_and_are_not_kept() -> None:
    peer = Peer()
    stream = peer.begin()
    peer.send(1, message(b"x"))
    peer.give(peer.headers(1, [("key", "value")], end=True))
    assert stream.ended
    assert len(stream.headers) == len(CALL)


# ---- messages


def test_messages_split_at_every_byte() -> None:
    for at in range(len(TWO) + 1):
        peer = Peer()
        stream = peer.begin()
        peer.send(1, TWO[:at])
        peer.send(1, TWO[at:], end=True)
        assert peer.taken(stream) == READ
        assert not stream.partial


def test_every_byte_in_a_frame_of_its_own() -> None:
    peer = Peer()
    stream = peer.begin()
    for at in range(len(TWO)):
        peer.send(1, TWO[at : at + 1])
    assert peer.taken(stream) == READ


def test_bytes_of_a_connection_one_at_a_time() -> None:
    peer = Peer()
    frames = peer.headers(1).serialize() + DataFrame(1, TWO, flags=["END_STREAM"]).serialize()
    for at in range(len(frames)):
        peer.give(frames[at : at + 1])
    stream = peer.session.streams[1]
    assert stream.ended
    assert peer.taken(stream) == READ


def test_messages_that_are_taken_as_they_come() -> None:
    peer = Peer()
    stream = peer.begin()
    for _ in range(3):
        peer.send(1, message(b"one"))
        assert peer.session.touched() == [stream]
        assert peer.session.take(stream) == (False, b"one")
        assert peer.session.take(stream) is None


@pytest.mark.parametrize("size", [0, 1, 3, 64, 65, 1000, WINDOW_BYTES - 5])
def test_messages_end_where_numbers_may(size: int) -> None:
    """A tensor's contents are the last of a message, and are copied if they are not aligned."""
    peer = Peer()
    peer.begin()
    content = bytes(range(256)) * (size // 256 + 1)
    peer.send(1, message(content[:size]))
    _, whole = peer.session.take(peer.session.streams[1]) or (False, memoryview(b"missing"))
    assert whole == content[:size]
    assert whole.contiguous
    array = np.frombuffer(whole, np.uint8)
    assert (array.ctypes.data + size) % 64 == 0


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_padding_is_no_part_of_a_message(padding: int) -> None:
    peer = Peer()
    stream = peer.begin()
    peer.give(DataFrame(1, message(b"x"), flags=["PADDED"], pad_length=padding))
    assert peer.taken(stream) == [(False, b"x")]


def test_frames_that_are_empty() -> None:
    peer = Peer()
    stream = peer.begin()
    for part in (b"", message(b"ab")[:6], b"", b"", message(b"ab")[6:], b""):
        peer.send(1, part)
    assert peer.taken(stream) == [(False, b"ab")]


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_message_of_what_is_allowed(size: int) -> None:
    peer = Peer(max_message=100)
    stream = peer.begin()
    peer.send(1, message(bytes(size)))
    assert peer.taken(stream) == [(False, bytes(size))]
    assert not stream.too_long


@pytest.mark.parametrize("size", [101, 2**31, 2**32 - 1])
def test_a_longer_one_is_refused_when_it_is_announced(size: int) -> None:
    peer = Peer(max_message=100)
    stream = peer.begin()
    peer.session.touched()
    peer.send(1, message(announced=size))
    assert stream.too_long == size
    assert peer.session.touched() == [stream]
    peer.send(1, bytes(200) + message(b"not read"))
    assert peer.taken(stream) == []


@pytest.mark.parametrize("flag", range(2, 256))
def test_other_flags_are_refused(flag: int) -> None:
    peer = Peer()
    stream = peer.begin()
    peer.send(1, message(b"x", flag=flag) + message(b"not read"))
    assert stream.too_long == -1
    assert peer.taken(stream) == []


# ---- the end of what comes


@pytest.mark.parametrize(
    ("sent", "partial"),
    [(b"", False), (message(b"ab"), False), (message(b"ab")[:3], True), (message(b"ab")[:6], True)],
    ids=["nothing", "a message", "part of a prefix", "part of a message"],
)
@pytest.mark.parametrize("apart", [False, True], ids=["with the last bytes", "alone"])
def test_where_a_stream_ends(sent: bytes, partial: bool, apart: bool) -> None:
    peer = Peer()
    stream = peer.begin()
    if apart:
        peer.send(1, sent)
        assert not stream.ended
        peer.send(1, b"", end=True)
    else:
        peer.send(1, sent, end=True)
    assert stream.ended
    assert stream.partial is partial


def test_a_stream_that_ends_with_its_headers() -> None:
    stream = Peer().begin(end=True)
    assert stream.opened
    assert stream.ended


def test_data_behind_the_end_ends_the_connection() -> None:
    peer = Peer()
    stream = peer.begin(end=True)
    peer.send(1, message(b"x"))
    assert kinds(peer.frames()) == [("GoAway", 0)]
    assert not peer.session.alive
    assert peer.taken(stream) == []


# ---- flow control


def test_leave_is_given_for_what_was_taken() -> None:
    peer = Peer()
    stream = peer.begin()
    peer.send(1, FULL)
    assert peer.leave(1) == 0
    peer.session.take(stream)
    assert peer.leave(1) == 0  # the next one waits, too
    peer.session.take(stream)
    assert peer.leave(1) == WINDOW_BYTES


def test_leave_is_given_for_the_message_that_is_coming() -> None:
    peer = Peer(max_message=4 * WINDOW_BYTES)
    peer.begin()
    peer.send(1, message(bytes(WINDOW_BYTES - 5), announced=4 * WINDOW_BYTES))
    assert peer.leave(1) > WINDOW_BYTES // 2


def test_leave_for_padding_is_given_back() -> None:
    peer = Peer()
    stream = peer.begin()
    for _ in range(WINDOW_BYTES // 256):
        peer.give(DataFrame(1, b"", flags=["PADDED"], pad_length=255))
    assert peer.leave(1) > WINDOW_BYTES // 2
    assert peer.taken(stream) == []


def test_whoever_ignores_a_stream_gives_leave_for_the_rest_of_it() -> None:
    """Otherwise a caller could not end what it is sending."""
    peer = Peer()
    stream = peer.begin()
    peer.send(1, FULL)
    peer.session.ignore(stream)
    assert peer.leave(1) == WINDOW_BYTES
    peer.send(1, FULL)
    assert peer.leave(1) >= WINDOW_BYTES // 2
    assert peer.taken(stream) == []


def test_a_stream_that_waits_holds_up_no_other() -> None:
    """The whole connection has leave to send on, whatever is not taken of one stream."""
    peer = Peer()
    for number in (1, 3, 5, 7, 9):
        peer.begin(number)
        peer.send(number, FULL)
    assert peer.leave(0) > 0
    last = peer.begin(11)
    peer.send(11, message(b"x"))
    assert peer.taken(last) == [(False, b"x")]


def test_more_than_there_is_leave_for_is_refused() -> None:
    peer = Peer()
    peer.begin()
    peer.send(1, FULL)
    peer.send(1, b"x")
    (told,) = [frame for frame in peer.frames() if isinstance(frame, RstStreamFrame)]
    assert told.error_code == 3  # FLOW_CONTROL_ERROR


SHAPES = {
    "one long": message(bytes(WINDOW_BYTES)),
    "many empty": message() * 10_000,
    "many of a byte": message(b"x") * 10_000,
    "one that ends in the middle": message(bytes(WINDOW_BYTES // 2 + 7)),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_message_and_a_window_are_the_most_that_is_kept(shape: bytes) -> None:
    """Of a caller who sends as long as there is leave, while nothing is taken."""
    peer = Peer(max_message=2 * WINDOW_BYTES)
    stream = peer.begin()
    peer.frames()
    data = shape * (8 * WINDOW_BYTES // len(shape))
    leave, at = WINDOW_BYTES, 0
    tracemalloc.start()
    try:
        while leave:
            part = data[at : at + min(leave, FRAME_BYTES)]
            peer.give(DataFrame(1, part))
            at += len(part)
            leave += peer.leave(1) - len(part)
        del part
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert at <= len(shape) + WINDOW_BYTES
    assert kept < len(shape) + WINDOW_BYTES + WINDOW_BYTES // 4
    assert peer.session.take(stream) == (False, shape[5 : 5 + int.from_bytes(shape[1:5], "big")])


def test_what_was_kept_comes_out_in_its_order() -> None:
    peer = Peer()
    stream = peer.begin()
    texts = [str(number).encode() * (number % 7) for number in range(5000)]
    peer.send(1, b"".join(map(message, texts)), end=True)
    assert peer.taken(stream) == [(False, text) for text in texts]
    assert not stream.partial


def test_a_message_that_is_too_long_behind_others() -> None:
    peer = Peer(max_message=10)
    stream = peer.begin()
    peer.send(1, message(b"fine") + message(announced=11))
    assert peer.session.take(stream) == (False, b"fine")
    peer.session.take(stream)
    assert stream.too_long == 11


def test_a_stream_that_is_over_gives_no_leave() -> None:
    peer = Peer()
    stream = peer.begin(end=False)
    peer.send(1, FULL)
    peer.cancel(1)
    assert stream.closed
    peer.session.take(stream)
    peer.session.ignore(stream)
    assert peer.leave(1) == 0


def test_answers_go_while_messages_come() -> None:
    peer = Peer()
    stream = peer.begin()
    peer.send(1, message(b"one")[:6])
    peer.session.respond(stream, ANSWER)
    peer.session.write(stream, b"early")
    assert content(peer.frames()) == message(b"early")
    peer.send(1, message(b"one")[6:], end=True)
    assert peer.taken(stream) == [(False, b"one")]
