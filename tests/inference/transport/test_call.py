"""One call: its messages, its end, and what its handler is told."""

from __future__ import annotations

import asyncio
import os
import threading
import zlib
from dataclasses import replace
from typing import Any

import grpc
import pytest

from sealserve.inference.transport import compression
from support.http2_peer import message
from support.transport_case import (
    LIMITS,
    SECONDS,
    Answer,
    in_loop,
    serving,
    told,
    unary_unary_forever,
    until,
    wire,
)

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT = 0, 1, 2, 3
DEADLINE_EXCEEDED, EXHAUSTED, UNIMPLEMENTED, INTERNAL = 4, 8, 12, 13


async def called(
    method: str, data: bytes, *functions: Any, end: bool = True, **more: Any
) -> Answer:
    """What is answered to these bytes. more: headers, with a line for a dash."""
    async with serving(*functions) as server, wire(server) as caller:
        headers = [(name.replace("_", "-"), value) for name, value in more.items()]
        stream = caller.begin(method, *headers)
        caller.send(stream, data, end=end)
        return await caller.answer(stream)


# ---- messages


@in_loop
async def test_a_call() -> None:
    answer = await called("unary_unary_echo", message(b"x"))
    assert answer.headers == [
        [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-accept-encoding", "identity,deflate,gzip"),
        ],
        [("grpc-status", "0")],
    ]
    assert answer.data == message(b"x")
    assert answer.reset is None


@in_loop
async def test_a_stream_of_messages() -> None:
    answer = await called("stream_stream_echo", message(b"a") + message() + message(b"b"))
    assert answer.data == message(b"a") + message() + message(b"b")
    assert answer.status == OK


@in_loop
async def test_a_call_without_its_message() -> None:
    answer = await called("unary_unary_echo", b"")
    assert answer.status == INVALID_ARGUMENT


@in_loop
async def test_a_call_that_ends_within_its_message() -> None:
    answer = await called("unary_unary_echo", message(b"whole")[:7])
    assert (answer.status, answer.last["grpc-message"]) == (
        INTERNAL,
        "the call ended within a message",
    )


@in_loop
async def test_of_two_messages_a_call_of_one_takes_the_first() -> None:
    """As other servers do; the second is read by nobody."""
    answer = await called("unary_unary_echo", message(b"a") + message(b"b"))
    assert answer.data == message(b"a")
    assert answer.status == OK


@in_loop
async def test_an_answer_before_the_caller_has_ended() -> None:
    answer = await called("unary_unary_echo", message(b"a"), end=False)
    assert answer.status == OK


@in_loop
async def test_a_message_that_is_too_long() -> None:
    answer = await called("unary_unary_echo", message(announced=2**20 + 1), end=False)
    assert answer.status == EXHAUSTED
    assert answer.last["grpc-message"] == "the message has 1048577 bytes; 1048576 are the most"


@in_loop
async def test_a_message_that_is_too_long_behind_one_that_waits() -> None:
    data = message(b"a") + message(announced=2**20 + 1)
    answer = await called("stream_stream_echo", data, end=False)
    assert answer.status == EXHAUSTED


@in_loop
async def test_a_flag_that_is_none() -> None:
    answer = await called("unary_unary_echo", message(b"x", flag=2), end=False)
    assert (answer.status, answer.last["grpc-message"]) == (
        INTERNAL,
        "that is no message of gRPC",
    )


# ---- compressed ones

TEXT = b"a text " * 100
GZIP = zlib.compress(TEXT, wbits=31)
DEFLATE = zlib.compress(TEXT)
BOMB = zlib.compress(bytes(2**20 + 1), wbits=31)


@pytest.mark.parametrize(("encoding", "data"), [("gzip", GZIP), ("deflate", DEFLATE)])
@in_loop
async def test_compressed_messages(encoding: str, data: bytes) -> None:
    answer = await called("unary_unary_echo", message(data, flag=1), grpc_encoding=encoding)
    assert answer.data == message(TEXT)


@in_loop
async def test_a_plain_message_in_a_call_that_may_compress() -> None:
    answer = await called("unary_unary_echo", message(TEXT), grpc_encoding="gzip")
    assert answer.data == message(TEXT)


@pytest.mark.parametrize("headers", [{}, {"grpc_encoding": "identity"}])
@in_loop
async def test_a_compressed_message_whose_call_names_no_encoding(headers: dict[str, str]) -> None:
    answer = await called("unary_unary_echo", message(GZIP, flag=1), **headers)
    assert answer.status == INTERNAL
    assert "names no encoding" in answer.last["grpc-message"]


@in_loop
async def test_a_message_that_is_too_long_when_it_is_unpacked() -> None:
    answer = await called("unary_unary_echo", message(BOMB, flag=1), grpc_encoding="gzip")
    assert answer.status == EXHAUSTED


@in_loop
async def test_a_message_that_is_not_what_its_encoding_says() -> None:
    answer = await called("unary_unary_echo", message(b"x", flag=1), grpc_encoding="gzip")
    assert answer.status == INTERNAL


@in_loop
async def test_an_encoding_that_is_not_known() -> None:
    answer = await called("unary_unary_echo", message(b"x", flag=1), grpc_encoding="br")
    assert answer.status == UNIMPLEMENTED


class Unpacking:
    """Who unpacks messages, and a gate that holds up those that are long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, held: bool = False) -> None:
        self.gate = threading.Event()
        self.begun: list[threading.Thread] = []
        self._held = held
        self._real = compression.decompress
        monkeypatch.setattr(compression, "decompress", self._decompress)

    def _decompress(self, data: memoryview, encoding: bytes, most: int) -> bytes:
        self.begun.append(threading.current_thread())
        if self._held and most > compression.AT_ONCE_BYTES:
            assert self.gate.wait(SECONDS), "nobody was answered meanwhile"
        return self._real(data, encoding, most)


LONG = bytes(range(256)) * 192


@in_loop
async def test_others_are_answered_while_a_long_message_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpacking = Unpacking(monkeypatch, held=True)
    async with serving() as server, wire(server) as caller:
        first = caller.begin("unary_unary_echo", ("grpc-encoding", "gzip"))
        caller.send(first, message(zlib.compress(LONG, wbits=31), flag=1))
        second = caller.begin("unary_unary_echo")
        caller.send(second, message(TEXT))
        assert (await caller.answer(second)).data == message(TEXT)
        unpacking.gate.set()
        assert (await caller.answer(first)).data == message(LONG)


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        (bytes(compression.AT_ONCE_BYTES), False),
        (bytes(compression.AT_ONCE_BYTES + 1), True),  # only a few bytes of it come
        (os.urandom(compression.AT_ONCE_BYTES), True),  # longer than what is in it
    ],
    ids=["short", "long inside", "long outside"],
)
@in_loop
async def test_where_messages_are_unpacked(
    text: bytes, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacking = Unpacking(monkeypatch)
    data = message(zlib.compress(text, wbits=31), flag=1)
    answer = await called("unary_unary_echo", data, grpc_encoding="gzip")
    assert answer.data == message(text)
    assert (unpacking.begun[-1] is not threading.current_thread()) is beside


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (zlib.compress(bytes(2**20 + 1), wbits=31), EXHAUSTED),
        (zlib.compress(LONG, wbits=31)[:-1], INTERNAL),
        (zlib.compress(LONG, wbits=31) + b"x", INTERNAL),
        (os.urandom(compression.AT_ONCE_BYTES + 1), INTERNAL),
    ],
    ids=["too long", "cut off", "something behind", "noise"],
)
@in_loop
async def test_long_messages_that_cannot_be_unpacked(data: bytes, status: int) -> None:
    answer = await called("unary_unary_echo", message(data, flag=1), grpc_encoding="gzip")
    assert answer.status == status


@in_loop
async def test_a_caller_who_goes_away_while_its_message_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpacking = Unpacking(monkeypatch, held=True)
    async with serving() as server:
        async with wire(server) as caller:
            stream = caller.begin("unary_unary_echo", ("grpc-encoding", "gzip"))
            caller.send(stream, message(zlib.compress(LONG, wbits=31), flag=1))
            await until(lambda: unpacking.begun)
        await until(lambda: not server._connections)
        assert server._calls == 0
        unpacking.gate.set()


# ---- what a handler does


@in_loop
async def test_a_handler_that_fails() -> None:
    async def unary_unary_fail(_request: bytes, _context: Any) -> bytes:
        raise KeyError("a secret")

    answer = await called("unary_unary_fail", message(), unary_unary_fail)
    assert (answer.status, answer.last["grpc-message"]) == (
        UNKNOWN,
        "the server failed on this call",
    )
    (line,) = told()
    assert line["message"] == "a handler of gRPC failed"
    assert isinstance(line["exception"], KeyError)


@in_loop
async def test_a_handler_that_fails_within_its_answer() -> None:
    async def unary_stream_fail(_request: bytes, _context: Any) -> Any:
        yield b"first"
        raise KeyError

    answer = await called("unary_stream_fail", message(), unary_stream_fail)
    assert answer.data == message(b"first")
    assert answer.status == UNKNOWN
    assert len(told()) == 1


@in_loop
async def test_a_handler_that_ends_a_call() -> None:
    async def unary_unary_end(_request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "nothing é %\n", (("key", "value"),))
        raise AssertionError

    answer = await called("unary_unary_end", message(), unary_unary_end)
    assert answer.last == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,deflate,gzip",
        "grpc-status": "5",
        "grpc-message": "nothing %C3%A9 %25%0A",
        "key": "value",
    }


@in_loop
async def test_words_that_nothing_can_encode() -> None:
    """Half a character, as Python keeps what was no UTF-8: the status comes all the same."""

    async def unary_unary_end(_request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "half \udcff")
        raise AssertionError

    answer = await called("unary_unary_end", message(), unary_unary_end)
    assert (answer.status, answer.last["grpc-message"]) == (5, "half ?")


@pytest.mark.parametrize("ends", [True, False], ids=["its end", "its answer"])
@in_loop
async def test_a_handler_that_says_what_is_no_metadata(ends: bool) -> None:
    async def unary_unary_odd(_request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("key", 7),))
        if ends:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return b""

    answer = await called("unary_unary_odd", message(), unary_unary_odd)
    assert answer.last["grpc-message"] == "the server failed on this call"
    assert "key" not in answer.last
    assert len(told()) == 1


@in_loop
async def test_metadata_of_both_ends() -> None:
    seen: list[Any] = []

    async def unary_unary_meta(_request: bytes, context: Any) -> bytes:
        seen.extend(context.invocation_metadata())
        context.set_trailing_metadata((("a", "text"), ("b-bin", b"\xff\0")))
        assert context.trailing_metadata() == (("a", "text"), ("b-bin", b"\xff\0"))
        return b""

    answer = await called(
        "unary_unary_meta", message(), unary_unary_meta, key="value", raw_bin="/wA"
    )
    assert seen == [("key", "value"), ("raw-bin", b"\xff\0")]
    assert answer.last == {"grpc-status": "0", "a": "text", "b-bin": "/wA"}


@in_loop
async def test_a_message_that_the_service_cannot_read() -> None:
    class Refuses:
        def service(self, details: Any) -> Any:
            def decode(data: bytes) -> None:
                raise RuntimeError

            if details.method != "/test/decode":
                return None
            return grpc.unary_unary_rpc_method_handler(None, decode)

    async with serving() as server, wire(server) as caller:
        server.add_generic_rpc_handlers([Refuses()])  # type: ignore[list-item]
        answer = await caller.answer(caller.call("decode"))
    assert answer.status == INVALID_ARGUMENT


# ---- how long it lasts


class Watched:
    """A handler that waits, and what happened to it."""

    def __init__(self) -> None:
        self.began = self.cancelled = self.cleaned = self.done = 0
        self.remaining: float | None = None

    async def unary_unary_watched(self, _request: bytes, context: Any) -> bytes:
        self.began += 1
        self.remaining = context.time_remaining()
        context.add_done_callback(self._done)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(0.01)
            self.cleaned += 1
            raise
        raise AssertionError

    def _done(self, _context: Any) -> None:
        self.done += 1

    @property
    def state(self) -> tuple[int, int, int, int]:
        return self.began, self.cancelled, self.cleaned, self.done


@in_loop
async def test_a_caller_that_cancels() -> None:
    watched = Watched()
    async with serving(watched.unary_unary_watched) as server, wire(server) as caller:
        stream = caller.call("unary_unary_watched")
        await until(lambda: watched.began)
        caller.cancel(stream)
        await until(lambda: watched.cleaned)
        assert server._calls == 0
    assert watched.state == (1, 1, 1, 1)


@in_loop
async def test_a_caller_that_hangs_up() -> None:
    watched = Watched()
    async with serving(watched.unary_unary_watched) as server:
        async with wire(server) as caller:
            caller.call("unary_unary_watched")
            await until(lambda: watched.began)
        await until(lambda: watched.cleaned)
    assert watched.state == (1, 1, 1, 1)


@in_loop
async def test_a_deadline() -> None:
    """The handler is stopped once: what it does then is not stopped again by its stream's end."""
    watched = Watched()
    async with serving(watched.unary_unary_watched) as server, wire(server) as caller:
        stream = caller.call("unary_unary_watched", b"", ("grpc-timeout", "50m"))
        answer = await caller.answer(stream)
        assert answer.status == DEADLINE_EXCEEDED
        await until(lambda: watched.cleaned)
    assert watched.state == (1, 1, 1, 1)
    assert watched.remaining is not None
    assert 0 <= watched.remaining <= 0.05


@in_loop
async def test_a_caller_that_cancels_what_was_stopped() -> None:
    """Its handler tidies up already, and goes on with that."""
    watched, cleaning = Watched(), asyncio.Event()

    async def stream_stream_tidy(_requests: Any, context: Any) -> None:
        await context.write(b"an answer that does not go")
        try:
            await watched.unary_unary_watched(b"", context)
        finally:
            cleaning.set()
            await asyncio.sleep(0.02)
            watched.cleaned += 1

    async with serving(stream_stream_tidy) as server, wire(server, window=0) as caller:
        stream = caller.begin("stream_stream_tidy", ("grpc-timeout", "20m"))
        async with asyncio.timeout(10):
            await cleaning.wait()
        caller.cancel(stream)
        await until(lambda: watched.done)
        await until(lambda: watched.cleaned == 2)


@in_loop
async def test_a_deadline_that_has_passed() -> None:
    async with serving(unary_unary_forever) as server, wire(server) as caller:
        answer = await caller.answer(
            caller.call("unary_unary_forever", b"", ("grpc-timeout", "1n"))
        )
    assert answer.status == DEADLINE_EXCEEDED


@in_loop
async def test_a_deadline_beyond_all_time() -> None:
    async with serving() as server, wire(server) as caller:
        answer = await caller.answer(
            caller.call("unary_unary_echo", b"", ("grpc-timeout", "99999999H"))
        )
    assert answer.status == OK


@in_loop
async def test_no_deadline_is_no_time_that_remains() -> None:
    watched = Watched()
    async with serving(watched.unary_unary_watched) as server, wire(server) as caller:
        caller.call("unary_unary_watched")
        await until(lambda: watched.began)
    assert watched.remaining is None


@in_loop
async def test_whoever_asks_late_is_called_back_at_once() -> None:
    done: list[object] = []

    async def unary_unary_late(_request: bytes, context: Any) -> bytes:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            context.add_done_callback(done.append)
        raise AssertionError

    async with serving(unary_unary_late) as server, wire(server) as caller:
        stream = caller.call("unary_unary_late")
        await until(lambda: server._calls)
        await asyncio.sleep(0.01)
        caller.cancel(stream)
        await until(lambda: done)
    assert len(done) == 1


@in_loop
async def test_messages_that_nobody_sends_have_the_time_of_a_call() -> None:
    """Of services that do not wait themselves: gRPC's own. A call is one of so many."""
    limits = replace(LIMITS, patience=0.05)
    async with serving(limits=limits) as server, wire(server) as caller:
        nothing, half = caller.begin("unary_unary_echo"), caller.begin("unary_unary_echo")
        caller.send(half, message(b"half")[:6], end=False)
        for stream in (nothing, half):
            assert (await caller.answer(stream)).status == DEADLINE_EXCEEDED
        await until(lambda: server._calls == 0)


@in_loop
async def test_a_handler_waits_for_a_caller_that_is_slow() -> None:
    written: list[int] = []

    async def unary_stream_many(_request: bytes, context: Any) -> Any:
        for number in range(20):
            written.append(number)
            yield bytes(50_000)

    async with serving(unary_stream_many) as server, wire(server, window=0) as caller:
        stream = caller.call("unary_stream_many")
        await until(lambda: written)
        await asyncio.sleep(0.05)
        assert len(written) == 2
        caller.allow(0, 2**30)
        caller.allow(stream, 2**30)
        answer = await caller.answer(stream)
        assert len(answer.data) == 20 * 50_005


@in_loop
async def test_what_is_yielded_ends_with_its_caller() -> None:
    """While it waits for room: not sometime later, when somebody collects it."""
    ended: list[bool] = []

    async def unary_stream_many(_request: bytes, _context: Any) -> Any:
        try:
            while True:
                yield bytes(50_000)
        finally:
            ended.append(True)

    async with serving(unary_stream_many) as server, wire(server, window=0) as caller:
        stream = caller.call("unary_stream_many")
        await until(lambda: server._calls)
        await asyncio.sleep(0.02)
        caller.cancel(stream)
        await until(lambda: server._calls == 0)
        await asyncio.sleep(0)
        assert ended == [True]
