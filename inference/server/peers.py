"""What one peer may have under way: calls, and bytes of their messages.

It holds for every call there is, before anything was attested and before anybody said who they
are, so that one address cannot take a server from all others. A peer is an IPv4 address or the /64
of an IPv6 one; behind a balancer all callers are one peer.

Its connections are limited by the transport (`peer_connections`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Final

from sealserve.inference.server.admission import BusyError
from sealserve.inference.server.challenge import peer_of

_RETRY_SECONDS: Final = 0.5
_KNOWN: Final = 4096  # addresses whose peer is remembered; to find it takes longer than to count


class Peers:
    """Counts for one event loop. A peer is forgotten with its last call."""

    def __init__(self, *, calls: int, size: int) -> None:
        """size: most bytes that one peer's messages may take."""
        self._calls = calls
        self._size = size
        self._present: dict[str, _Peer] = {}

    def enter(self, address: str, size: int) -> Place:
        """A call begins, whose message may have that many bytes; BusyError if that is too much.

        address: as gRPC names it.
        """
        name = _peer_of(address)
        peer = self._present.get(name)
        if peer is None:
            peer = self._present[name] = _Peer()
        elif peer.calls >= self._calls:
            raise BusyError(
                f"{self._calls} calls of this address are under way, which is its limit",
                retry_after_seconds=_RETRY_SECONDS,
            )
        place = Place(self, name, peer)
        place.hold(size)
        peer.calls += 1
        return place

    def __len__(self) -> int:
        """How many peers have calls under way."""
        return len(self._present)


class _Peer:
    __slots__ = ("calls", "size")

    def __init__(self) -> None:
        self.calls = 0
        self.size = 0


class Place:
    """One call's, from its headers to its end."""

    __slots__ = ("_held", "_name", "_peer", "_peers")

    def __init__(self, peers: Peers, name: str, peer: _Peer) -> None:
        self._peers = peers
        self._name = name
        self._peer = peer
        self._held = 0

    def hold(self, size: int) -> None:
        """So many bytes more; BusyError if the peer has no room for them."""
        if self._peer.size + size > self._peers._size:
            raise BusyError(
                f"messages of this address may take {self._peers._size} bytes together, "
                "and there is no room for this one",
                retry_after_seconds=_RETRY_SECONDS,
            )
        self._peer.size += size
        self._held += size

    def release(self, size: int) -> None:
        """So many bytes of them are gone."""
        self._peer.size -= size
        self._held -= size

    def shrink(self, size: int) -> None:
        """The message has come, and is no longer than it might have been, but this long."""
        if size < self._held:
            self.release(self._held - size)

    def leave(self) -> None:
        """The call is over, and with it all it held."""
        self._peer.size -= self._held
        self._peer.calls -= 1
        if not self._peer.calls:
            self._peers._present.pop(self._name, None)


@contextmanager
def holding(size: int) -> Iterator[None]:
    """One message of a stream: its bytes are the call's until it is answered."""
    place = PLACE.get()
    if place is None:  # behind no door: a test
        yield
        return
    place.hold(size)
    try:
        yield
    finally:
        place.release(size)


# The call that is running. Each call runs in a task of its own, and so do a stream's requests.
PLACE: ContextVar[Place | None] = ContextVar("place", default=None)
_peer_of = lru_cache(_KNOWN)(peer_of)
