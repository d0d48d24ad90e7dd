"""The handshake that gets a certificate, and those of a pinned channel: what they may be.

All addresses of a name share one deadline.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import channel, clock, fetch
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.fetch import fetch_certificate
from sealserve.inference.server.handed import Certificates
from sealserve.native.errors import UnavailableError
from support import client_case as case
from support.client_case import FixedIdentity, Parts
from support.client_server import eventually
from support.resets import left_open, reset_on_connecting

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
            if seconds is not None:  # what the ssl module gives a socket that is not connected
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


# ---- the handshakes themselves


class TlsPeer:
    """A server of TLS and of nothing above it, that hangs up once the client said something.

    said: what came after each handshake. versions, resumed: of each handshake.
    """

    def __init__(self, folder: Path, newest: ssl.TLSVersion) -> None:
        key = case.new_key()
        self.certificate = Parts(key, b"evidence").build(datetime.now(UTC))
        fixed = FixedIdentity(key, Certificates(self.certificate, b""))
        file = folder / "peer.pem"
        file.write_bytes(fixed.key_pem + fixed.certificate_pem)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(file)
        self._context.maximum_version = newest
        self._context.set_alpn_protocols(["h2"])
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.said: list[bytes] = []
        self.versions: list[str | None] = []
        self.resumed: list[bool | None] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> TlsPeer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            with plain, suppress(OSError):
                plain.settimeout(10.0)
                self._handshake(plain)

    def _handshake(self, plain: socket.socket) -> None:
        with self._context.wrap_socket(plain, server_side=True) as encrypted:
            self.versions.append(encrypted.version())
            self.resumed.append(encrypted.session_reused)
            self.said.append(encrypted.recv(1024))


def test_no_application_byte_is_sent(tmp_path: Path) -> None:
    with TlsPeer(tmp_path, ssl.TLSVersion.TLSv1_3) as peer:
        assert fetch_certificate("127.0.0.1", peer.port, Deadline(10.0)) == peer.certificate
        eventually(lambda: peer.said == [b""])
    assert peer.versions == ["TLSv1.3"]


def test_an_older_protocol_is_refused(tmp_path: Path) -> None:
    with (
        TlsPeer(tmp_path, ssl.TLSVersion.TLSv1_2) as peer,
        pytest.raises(UnavailableError, match=r"no TLS 1\.3 handshake"),
    ):
        fetch_certificate("127.0.0.1", peer.port, Deadline(10.0))
    assert peer.versions == []


def test_no_session_is_taken_up_again(tmp_path: Path) -> None:
    """Each connection of a channel proves the key anew, though the peer hands out tickets."""
    with (
        TlsPeer(tmp_path, ssl.TLSVersion.TLSv1_3) as peer,
        grpc.secure_channel(
            channel.target("127.0.0.1", peer.port),
            channel.credentials(peer.certificate),
            [*channel.options(1024), ("grpc.initial_reconnect_backoff_ms", 100)],
        ) as opened,
    ):
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                opened.unary_unary("/a/b")(b"", timeout=10.0, wait_for_ready=False)
            eventually(lambda: bool(peer.said))
        eventually(lambda: len(peer.resumed) >= 2)
    assert not any(peer.resumed)
    assert set(peer.versions) == {"TLSv1.3"}


def reset_first(listener: socket.socket, times: int) -> None:
    """Reset that many connections, and then answer none any more."""
    for _ in range(times):
        plain, _ = listener.accept()
        plain.recv(1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        plain.close()


def test_a_reset_is_tried_once_more(
    monkeypatch: pytest.MonkeyPatch, simulated_root: SimulatedRoot
) -> None:
    """A process that ends resets who waits at its listener; the next connection is another's."""
    connect = fetch._connect
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        case.live(case.machine(simulated_root)) as server,
    ):
        ports = iter([first.getsockname()[1], server.port])
        monkeypatch.setattr(
            fetch, "_connect", lambda host, _, deadline: connect(host, next(ports), deadline)
        )
        thread = threading.Thread(target=reset_first, args=(first, 1))
        thread.start()
        assert fetch_certificate("127.0.0.1", 0, Deadline(10.0))
        thread.join()


def test_a_reset_before_the_handshake_leaves_no_socket_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python's ssl module forgets one that is wrapped when its connection is gone already."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reset_on_connecting(monkeypatch, listener)
        with pytest.raises(UnavailableError, match="reset"):
            fetch_certificate(*listener.getsockname(), Deadline(10.0))
    assert left_open() == []


def test_a_second_reset_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=reset_first, args=(listener, 2))
        thread.start()
        with pytest.raises(UnavailableError, match="reset"):
            fetch_certificate(*listener.getsockname(), Deadline(10.0))
        thread.join()
