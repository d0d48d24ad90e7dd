"""The handshake that gets a certificate: all addresses of a name share one deadline."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import clock
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.fetch import fetch_certificate
from sealserve.native.errors import UnavailableError
from support import client_case as case

NAME = "a name with many addresses"


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that is bound, and on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def resolving_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Let the name have one address for each port, whatever port is asked for."""
    stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    found = [(*stream, ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


class Clock:
    """One second goes by with each look at it. timeouts: what sockets were given meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._seconds = itertools.count()
        self.timeouts: list[float] = []
        monkeypatch.setattr(clock, "elapsed", lambda: float(next(self._seconds)))
        original = socket.socket.settimeout

        def settimeout(plain: socket.socket, seconds: Any) -> None:
            self.timeouts.append(seconds)
            original(plain, seconds)

        monkeypatch.setattr(socket.socket, "settimeout", settimeout)


def test_all_addresses_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_port() as refusing:
        resolving_to(monkeypatch, *[refusing] * 100)
        time = Clock(monkeypatch)
        with pytest.raises(UnavailableError, match="not done within 8 seconds"):
            fetch_certificate(NAME, 1, Deadline(8.0))
    assert 1 <= len(time.timeouts) <= 8
    assert sum(time.timeouts) <= 8.0


def test_an_address_that_hangs_leaves_time_for_the_next(
    simulated_root: SimulatedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        socket.socket() as full,
        case.live(case.machine(simulated_root)) as server,
        socket.socket() as first,
    ):
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())  # nobody accepts it, and no other connection gets in
        resolving_to(monkeypatch, full.getsockname()[1], server.port)
        certificate = fetch_certificate(NAME, 1, Deadline(2.0))
        assert certificate == server.identity.certificates.current


def test_the_next_address_is_tried(
    simulated_root: SimulatedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing_port() as refusing, case.live(case.machine(simulated_root)) as server:
        resolving_to(monkeypatch, refusing, server.port)
        certificate = fetch_certificate(NAME, 1, Deadline(10.0))
        assert certificate == server.identity.certificates.current


def test_why_the_last_address_failed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_port() as refusing:
        resolving_to(monkeypatch, refusing, refusing)
        with pytest.raises(UnavailableError, match="Connection refused"):
            fetch_certificate(NAME, 1, Deadline(10.0))


def test_a_name_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch)
    with pytest.raises(UnavailableError, match="this name has no address"):
        fetch_certificate(NAME, 1, Deadline(10.0))
