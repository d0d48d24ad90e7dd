"""How many requests a second, of one peer and of all together; more are answered 429.

Buckets of tokens: each peer's refills at its rate up to its burst, and so does the one of all. It
is decided before a body is read, a signature checked or a row written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sealserve.keys.peers import peer_of
from sealserve.keys.trustd.events import Event, log

MAX_PEERS: Final = 4096  # remembered at once; those beyond share one bucket
QUIET_SECONDS: Final = 10.0  # a flood is one fact, not a line for each request
_OTHERS: Final = "others"
_BURST_SECONDS: Final = 2.0  # a burst is what so long a pause allows


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests a second. A release takes two or three."""

    of_one_peer: float = 100.0
    of_all: float = 400.0


@dataclass(slots=True)
class _Bucket:
    rate: float
    left: float
    seen: float

    def refill(self, now: float) -> None:
        self.left = min(self.burst, self.left + (now - self.seen) * self.rate)
        self.seen = now

    @property
    def burst(self) -> float:
        return max(1.0, self.rate * _BURST_SECONDS)

    @property
    def wait(self) -> float:
        """Seconds until there is a whole token."""
        return max(0.0, (1 - self.left) / self.rate)


class Buckets:
    """Who may ask now."""

    def __init__(self, rates: Rates, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = rates
        self._clock = clock
        self._all = self._full(rates.of_all)
        self._peers: dict[str, _Bucket] = {}

    def take(self, peer: str) -> float:
        """0 for a request that may go on; else seconds to wait, and nothing is counted."""
        now = self._clock()
        own = self._of(peer, now)
        for bucket in (own, self._all):
            bucket.refill(now)
        wait = max(own.wait, self._all.wait)
        if not wait:
            own.left -= 1
            self._all.left -= 1
        return wait

    def _of(self, peer: str, now: float) -> _Bucket:
        if peer not in self._peers and len(self._peers) >= MAX_PEERS:
            self._forget_the_idle(now)
            if len(self._peers) >= MAX_PEERS:
                peer = _OTHERS
        return self._peers.setdefault(peer, self._full(self._rates.of_one_peer))

    def _forget_the_idle(self, now: float) -> None:
        for peer, bucket in list(self._peers.items()):
            if now - bucket.seen > _BURST_SECONDS:  # it is full again, as a new one is
                del self._peers[peer]

    def _full(self, rate: float) -> _Bucket:
        bucket = _Bucket(rate, 0.0, self._clock())
        bucket.left = bucket.burst
        return bucket


class Throttle:
    """The application behind these buckets."""

    def __init__(self, app: ASGIApp, buckets: Buckets) -> None:
        self._app = app
        self._buckets = buckets
        self._quiet_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the answer that there were too many."""
        peer = peer_of(_address(scope))
        wait = self._buckets.take(peer) if scope["type"] == "http" else 0.0
        if not wait:
            await self._app(scope, receive, send)
            return
        self._tell(peer)
        seconds = max(1, math.ceil(wait))
        message = f"Too many requests; try again in {seconds} seconds."
        # the body was not read, so the connection stands in the middle of a request
        headers = {"Retry-After": str(seconds), "Connection": "close"}
        answer = JSONResponse({"error": {"code": "Throttled", "message": message}}, 429, headers)
        await answer(scope, receive, send)

    def _tell(self, peer: str) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            log(Event.THROTTLED, peer=peer)


def _address(scope: Scope) -> str:
    client: Any = scope.get("client")
    return str(client[0]) if client else ""
