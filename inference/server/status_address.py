"""Where the operator's pages are: a port of the loopback, or the address that was asked for."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from sealserve.inference.wire.address import format_address, parse_address
from sealserve.native.errors import ConfigError, UnavailableError

OPTION: Final = "--status-listen"
LOOPBACK: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8002  # where Triton has its metrics


def parse_status_address(text: str) -> tuple[str, int]:
    """`PORT`, `HOST` or `HOST:PORT` as an IP address and a port; a port alone is the loopback's.

    Raises ConfigError for anything else, names other than `localhost` included.
    """
    if text.isascii() and text.isdecimal():
        text = f"{LOOPBACK}:{text}"
    host, port = parse_address(text, default_port=DEFAULT_PORT)
    host = LOOPBACK if host == "localhost" else host
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigError(
            f"{host[:80]!r} is no IP address",
            key=OPTION,
            hint="write an address of this machine, or the port alone for the loopback",
        ) from error
    return host, port


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(host).is_loopback


def bound(host: str, port: int) -> socket.socket:
    """A socket that holds the address and does not listen yet. UnavailableError if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named
    held = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise UnavailableError(
            f"cannot listen on {format_address(host, port)}: {error.strerror}",
            hint=f"stop the other program, or choose another port with {OPTION}",
        ) from error
    return held
