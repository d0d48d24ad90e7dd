"""Connections that somebody opens and does not use: each has a time, and each peer a number.

Nobody has to show a credential to connect, so what an idle connection holds is bounded here.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HANDSHAKE_SECONDS = 5.0  # a TLS 1.3 handshake takes two round trips
HEAD_SECONDS = 10.0  # from the handshake, or the first byte, to the end of a request's headers
MAX_OF_ONE_PEER = 32  # a server asks twice a release; a tool of the owner's holds one open
_IPV6_SITE_BITS = 64  # what one host may number itself in (RFC 4291 section 2.5.4)


class Limited(H11Protocol):
    """uvicorn's HTTP, ended where nobody sends a request. peers: of all connections together."""

    def __init__(self, *, peers: Counter[str], **given: Any) -> None:
        super().__init__(**given)
        self._peers = peers
        self._peer = ""
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = peer_of(self.client[0] if self.client else "")
        self._peers[self._peer] += 1
        if self._peers[self._peer] > MAX_OF_ONE_PEER:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        self._peers[self._peer] -= 1
        if not self._peers[self._peer]:
            del self._peers[self._peer]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.idle:
            self._wait()
        else:
            self._wait_no_more()

    @property
    def idle(self) -> bool:
        """Whether no request is under way: none has come, or the last one has its answer."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def peer_of(address: str) -> str:
    """Who counts as one: an IPv4 address, or all of an IPv6 site."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, _IPV6_SITE_BITS), strict=False))
    return str(parsed)
