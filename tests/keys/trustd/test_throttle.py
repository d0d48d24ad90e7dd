"""Too many requests are told to wait, before anything is read; nobody else waits for them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sealserve.keys.trustd import throttle
from sealserve.keys.trustd.throttle import Buckets, Rates, Throttle


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(buckets: Buckets, peer: str, at_most: int = 1000) -> int:
    """How many requests go through at once."""
    return next(number for number in range(at_most) if buckets.take(peer))


def test_a_burst_and_then_the_rate(clock: Clock) -> None:
    buckets = Buckets(Rates(of_one_peer=4, of_all=1024), clock)
    assert taken(buckets, "a") == 8
    assert buckets.take("a") == 0.25
    clock.now += 0.125
    assert buckets.take("a") == 0.125
    clock.now += 0.125
    assert buckets.take("a") == 0
    clock.now += 3600
    assert taken(buckets, "a") == 8


def test_one_peer_does_not_make_another_wait(clock: Clock) -> None:
    buckets = Buckets(Rates(of_one_peer=5, of_all=1000), clock)
    assert (taken(buckets, "a"), taken(buckets, "b")) == (10, 10)


def test_all_together(clock: Clock) -> None:
    buckets = Buckets(Rates(of_one_peer=4, of_all=8), clock)
    assert (taken(buckets, "a"), taken(buckets, "b"), taken(buckets, "c")) == (8, 8, 0)
    clock.now += 0.125
    assert buckets.take("c") == 0


def test_who_is_refused_uses_nothing_up(clock: Clock) -> None:
    buckets = Buckets(Rates(of_one_peer=5, of_all=10), clock)
    taken(buckets, "a")
    for _ in range(100):
        assert buckets.take("a")
    assert taken(buckets, "b") == 10


def test_only_so_many_peers_are_remembered(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAX_PEERS", 3)
    buckets = Buckets(Rates(of_one_peer=1, of_all=1000), clock)
    for peer in "abcdefgh":
        buckets.take(peer)
    assert len(buckets._peers) == 4  # and one for all the others
    assert buckets.take("i")  # shares it, and it is used up
    clock.now += 10
    assert not buckets.take("j")
    assert buckets._peers.keys() == {"j"}


class App:
    """Counts what reaches it."""

    def __init__(self) -> None:
        self.reached = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached += 1


def ask(app: Throttle, address: str) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        pytest.fail("the body was read")

    scope = {"type": "http", "client": (address, 1), "method": "POST", "path": "/", "headers": []}
    asyncio.run(app(scope, receive, send))
    return sent


def test_what_is_answered(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict[str, object]] = []
    monkeypatch.setattr(throttle, "log", lambda event, **fields: events.append(fields))
    inner = App()
    app = Throttle(inner, Buckets(Rates(of_one_peer=0.5, of_all=100), clock))
    assert ask(app, "10.0.0.1") == []
    for _ in range(3):
        start, body = ask(app, "10.0.0.1")
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert (start["status"], headers["retry-after"], headers["connection"]) == (
            429,
            "2",
            "close",
        )
        assert json.loads(body["body"])["error"]["code"] == "Throttled"
    assert events == [{"peer": "10.0.0.1"}]  # once for all of them
    assert ask(app, "10.0.0.2") == []
    assert ask(app, "2001:db8::1") == []
    assert len(ask(app, "2001:db8::2")) == 2  # of the same site
    assert inner.reached == 3
