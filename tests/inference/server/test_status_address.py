"""Where the pages are: the loopback, unless somebody says otherwise."""

from __future__ import annotations

import socket

import pytest

from sealserve.inference.server.status_address import bound, is_loopback, parse_status_address
from sealserve.native.errors import ConfigError, UnavailableError


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("9090", "127.0.0.1", 9090, True),
        ("0", "127.0.0.1", 0, True),
        ("localhost:9090", "127.0.0.1", 9090, True),
        ("127.0.0.1", "127.0.0.1", 8002, True),
        ("[::1]:9090", "::1", 9090, True),
        ("0.0.0.0:9090", "0.0.0.0", 9090, False),
        ("[::]:9090", "::", 9090, False),
        ("192.0.2.7:9090", "192.0.2.7", 9090, False),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int, loopback: bool) -> None:
    assert parse_status_address(text) == (host, port)
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":9090",
        "65536",
        "99999",
        "host.example:9090",
        "http://127.0.0.1:9090",
        "-1",
        "²",
        "1.2.3",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_status_address(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_held_without_listening(host: str) -> None:
    with bound(host, 0) as held:
        assert held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(held.getsockname()[:2])


def test_an_address_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}") as refused:
            bound("127.0.0.1", port)
    assert refused.value.hint
