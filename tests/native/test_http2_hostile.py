"""A peer that breaks the protocol or floods: the session ends, or what it takes stays bounded."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from sealserve.native.errors import InputError
from support.http2_peer import ANSWER, CALL, FRAME_BYTES, PREFACE, TRAILERS, Peer, kinds, message

MANY = 20_000
BOUND_BYTES = 4 * 2**20


@pytest.fixture
def grown() -> Iterator[Callable[[], int]]:
    """Says how many bytes of Python's there are more than at the beginning."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def over(peer: Peer) -> bool:
    """Whether the session ends, once what it has to say was sent."""
    peer.frames()
    return not peer.session.alive


# ---- what is no HTTP/2

NO_PREFACE = {
    "of HTTP/1.1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "wrong at its end": PREFACE[:-1] + b"x",
    "nothing but zeros": bytes(64),
}


@pytest.mark.parametrize("data", NO_PREFACE.values(), ids=NO_PREFACE)
def test_other_prefaces(data: bytes) -> None:
    with pytest.raises(InputError, match="no HTTP/2"):
        Peer(greet=False).give(data)


def test_a_preface_may_come_byte_by_byte() -> None:
    peer = Peer(greet=False)
    for at in range(len(PREFACE)):
        peer.give(PREFACE[at : at + 1])
    peer.give(SettingsFrame(0))
    assert peer.begin().opened


def test_settings_have_to_come_first() -> None:
    peer = Peer(greet=False)
    peer.give(PREFACE, PingFrame(0, b"12345678"))
    assert over(peer)


def _frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    head = len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + content


BROKEN = {
    "a frame longer than any may be": _frame(0, 0, 1, bytes(FRAME_BYTES + 1)),
    "data of no stream": _frame(0, 0, 0, b"x"),
    "data of a stream that never was": _frame(0, 0, 5, b"x"),
    "headers of no stream": _frame(1, 4, 0),
    "headers of a server's stream": _frame(1, 4, 2),
    "headers that are no HPACK": _frame(1, 4, 1, b"\xff\xff\xff\xff\xff"),
    "a table larger than allowed": _frame(1, 4, 1, b"\x3f\xff\xff\x7f"),
    "padding longer than its frame": _frame(0, 8, 1, b"\xff"),
    "a push": _frame(5, 4, 1, bytes(4)),
    "a reset of a stream that never was": _frame(3, 0, 1, bytes(4)),
    "a reset of odd length": _frame(3, 0, 1, b"x"),
    "settings of odd length": _frame(4, 0, 0, b"x"),
    "settings of a window that cannot be": _frame(4, 0, 0, b"\0\4\xff\xff\xff\xff"),
    "a ping of odd length": _frame(6, 0, 0, b"x"),
    "a ping of a stream": _frame(6, 0, 1, bytes(8)),
    "leave for nothing": _frame(8, 0, 0, bytes(4)),
    "leave for more than can be": _frame(8, 0, 0, b"\x7f\xff\xff\xff"),
    "a continuation of nothing": _frame(9, 4, 1),
    "headers that are interrupted": _frame(1, 0, 1, b"\x83") + _frame(6, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("frame", BROKEN.values(), ids=BROKEN)
def test_a_broken_frame_ends_the_connection(frame: bytes) -> None:
    peer = Peer()
    try:
        peer.give(frame)
    except InputError:
        return
    assert ("GoAway", 0) in kinds(peer.frames())
    assert not peer.session.alive
    peer.give(peer.headers(7))  # not a word of it is read
    assert 7 not in peer.session.streams


def test_a_stream_behind_others_is_not_begun() -> None:
    peer = Peer()
    peer.begin(3)
    peer.give(peer.headers(1))
    assert set(peer.session.streams) == {3}


MALFORMED = {
    "no method": CALL[1:],
    "no path": [pair for pair in CALL if pair[0] != ":path"],
    "two paths": [CALL[2], *CALL],
    "a field of connections": [*CALL, ("connection", "close")],
    "capital letters": [*CALL, ("Key", "value")],
    "a colon behind": [*CALL, (":path", "/")],
    "a length that is none": [*CALL, ("content-length", "x")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_ends_its_stream_alone(fields: list[tuple[str, str]]) -> None:
    peer = Peer()
    peer.give(peer.headers(1, fields))
    assert ("RstStream", 1) in kinds(peer.frames())
    assert peer.session.streams == {}
    assert peer.session.alive
    assert peer.begin(3).opened


def test_a_length_that_is_not_the_truth() -> None:
    peer = Peer()
    stream = peer.begin(fields=[*CALL, ("content-length", "3")])
    peer.send(1, message(b"longer"))
    assert ("RstStream", 1) in kinds(peer.frames())
    assert stream.closed


# ---- floods, while nothing of ours is read

FLOODS = [PingFrame(0, b"12345678"), SettingsFrame(0, {1: 4096})]


@pytest.mark.parametrize("frame", FLOODS, ids=["pings", "settings"])
def test_what_has_to_be_answered_is_not_kept_without_end(frame: Frame) -> None:
    peer = Peer()
    with pytest.raises(InputError):  # noqa: PT012  the one that is too many
        for _ in range(MANY):
            peer.give(frame)


def test_resets_of_ours_that_nobody_reads() -> None:
    """Streams beyond what is allowed are refused with a frame each, none of which can go."""
    peer = Peer(max_streams=1, greet=False)
    peer.give(PREFACE, SettingsFrame(0))  # and ours are never acknowledged
    with pytest.raises(InputError, match="reads nothing"):  # noqa: PT012
        for number in range(1, 2 * MANY, 2):
            peer.give(peer.headers(number))


def test_frames_that_may_wait_are_more_than_an_answer_needs() -> None:
    """Of as many streams as there may be, when their caller does not read for a while."""
    peer = Peer(max_streams=500, window=2**31 - 1)
    for number in range(1, 1000, 2):
        stream = peer.begin(number)
        peer.send(number, message(bytes(1000)))
        peer.session.take(stream)
        peer.session.refuse(stream, [*ANSWER, *TRAILERS])
    peer.give(PingFrame(0, b"12345678"))
    assert len(peer.frames()) > 500


def test_streams_that_are_reset_at_once() -> None:
    """CVE-2023-44487: each costs its sender nothing, and takes no place for long."""
    peer = Peer()
    ended = False
    for number in range(1, 2 * MANY, 2):
        peer.give(peer.headers(number), RstStreamFrame(number, error_code=8))
        peer.session.touched()
        assert len(peer.session.streams) <= 1
        if over(peer):
            ended = True
            break
    assert ended


def test_headers_without_an_end() -> None:
    """CVE-2024-28182: none of it is kept, and soon the connection is over."""
    peer = Peer()
    peer.give(peer.headers(1, cut=True))
    ended = False
    for _ in range(MANY):
        try:
            peer.give(ContinuationFrame(1, b"\0\1a\1b" * 10))
        except InputError:
            ended = True
            break
        ended = ended or over(peer)
        if ended:
            break
    assert ended


def test_headers_that_unpack_to_very_much(grown: Callable[[], int]) -> None:
    """One long field, named again and again: a byte for four thousand."""
    peer = Peer()
    block = peer.headers(1).data
    field = b"\x40\x01a\x7f" + b"\xa1\x1e" + b"x" * (127 + 0x21 + (0x1E << 7))  # 4,000 characters
    peer.give(_frame(1, 4, 1, block + field + b"\xbe" * 10_000))
    stream = peer.session.streams[1]
    assert stream.headers_too_long
    assert grown() < 64 * 1024
    assert sum(len(name) + len(value) for name, value in stream.headers) < 16_384


def test_empty_fields_cost_what_they_count() -> None:
    peer = Peer()
    stream = peer.begin(fields=[*CALL, *[("a", "")] * 5000])
    assert stream.headers_too_long
    assert len(stream.headers) < 16_384 // 32


@pytest.mark.parametrize(
    "frame",
    [
        WindowUpdateFrame(0, window_increment=1),
        PriorityFrame(1, depends_on=3),
        DataFrame(1, b""),
        _frame(0xBB, 0, 0, bytes(100)),
    ],
    ids=["leave", "priorities", "empty data", "of an unknown kind"],
)
def test_frames_that_say_nothing(frame: Frame | bytes, grown: Callable[[], int]) -> None:
    peer = Peer()
    peer.begin()
    data = (frame if isinstance(frame, bytes) else frame.serialize()) * 100
    for _ in range(MANY // 100):
        peer.give(data)
    assert grown() < BOUND_BYTES // 8
    peer.session.touched()
    assert len(peer.frames()) < 100


def test_priorities_of_streams_that_are_not_there(grown: Callable[[], int]) -> None:
    peer = Peer()
    for number in range(1, 2 * MANY, 2):
        peer.give(PriorityFrame(number, depends_on=0))
    assert peer.session.streams == {}
    assert grown() < BOUND_BYTES // 8


# ---- what stays


def test_thousands_of_streams_leave_nothing(grown: Callable[[], int]) -> None:
    """Served, cancelled, refused and reset by turns; what they hold goes with them, by counting."""
    peer = Peer()
    gc.disable()
    try:
        serve(peer, range(1, 2000, 2))
        before = grown()
        serve(peer, range(2001, 8001, 2))
        assert grown() - before < 64 * 1024
    finally:
        gc.enable()


def serve(peer: Peer, numbers: range) -> None:
    for number in numbers:
        stream = peer.begin(number)
        stream.call = object()
        peer.send(number, message(bytes(1000)) + message(b"half")[:6])
        peer.session.take(stream)
        if number % 8 == 1:
            peer.session.refuse(stream, [*ANSWER, *TRAILERS])
        elif number % 8 == 3:
            peer.session.reset(stream, 8)
        else:
            peer.session.respond(stream, ANSWER)
            peer.session.write(stream, bytes(1000))
            peer.session.finish(stream, TRAILERS)
        peer.frames()
        peer.allow(0, 1005) if number % 8 > 3 else None
        assert peer.session.touched() == [stream]
        assert stream.closed
    assert peer.session.streams == {}


def test_sessions_leave_nothing(grown: Callable[[], int]) -> None:
    """Each in the middle of everything, and in a circle with what it serves."""

    def one() -> None:
        peer = Peer(window=0)
        for number in range(1, 21, 2):
            stream = peer.begin(number)
            stream.call = peer
            peer.send(number, message(bytes(1000)) * 2)
            peer.session.respond(stream, ANSWER)
            peer.session.write(stream, bytes(1000))
            peer.session.finish(stream, TRAILERS)
        peer.frames()

    for _ in range(20):
        one()
    gc.collect()
    before = grown()
    for _ in range(200):
        one()
    gc.collect()
    assert grown() - before < 64 * 1024


# ---- without the library


def without(library: str, tmp_path: Path) -> str:
    """What a server says in a process (this one has opened the library) that finds this one.

    library: C; "" finds none.
    """
    source, made = tmp_path / "library.c", tmp_path / "libnghttp2.so.14"
    source.write_text(library)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source], check=True)
    if not library:
        made.write_bytes(b"no library")
    code = """
from sealserve.native.http2 import Session, require_library
from sealserve.native.errors import UnavailableError
for ask in (require_library, lambda: Session(max_message=1, max_headers=1, max_streams=1)):
    try:
        ask()
    except UnavailableError as error:
        print(" ".join(str(error).split()))
"""
    paths = {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **paths},
        check=True,
        capture_output=True,
        text=True,
    )
    first, second = told.stdout.splitlines()
    assert first == second
    return first


def test_without_the_library(tmp_path: Path) -> None:
    told = without("", tmp_path)
    assert told.startswith("libnghttp2.so.14 cannot be opened hint: a server needs it: apt-get")


def test_with_a_library_that_lacks_something(tmp_path: Path) -> None:
    """One from before the limits against floods, for one."""
    told = without("int nghttp2_session_callbacks_new(void **x) { return !x; }", tmp_path)
    assert told.startswith("libnghttp2 has no nghttp2_session_callbacks_set_on_begin_headers")
