"""The port, held for the workers that listen on it.

A socket that is bound and never listens keeps the port ours while workers come and go; each of them
binds its own socket to it (SO_REUSEPORT), and the kernel spreads connections over those that
listen [socket(7)]. It is bound without that option first: so a port that somebody else has is an
error and not something to share, and nobody can slip in between a look and the taking.
"""

from __future__ import annotations

import socket

from sealserve.inference.wire.address import format_address
from sealserve.native.errors import UnavailableError


class HeldPort:
    """A port of ours, on which nobody listens yet. port: its number, also if it was asked as 0."""

    def __init__(self, host: str, port: int) -> None:
        """UnavailableError if somebody listens there."""
        self._socket = socket.socket(_family(host), socket.SOCK_STREAM)
        # Connections of the last server may still be on their way out.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise port_taken(host, port) from error
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Hold it no longer."""
        self._socket.close()


def listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """A socket that is bound there. shared: the port is one that we hold.

    UnavailableError if somebody else has it.
    """
    # asyncio sends small answers at once (TCP_NODELAY) where it is told that this is TCP.
    listener = socket.socket(_family(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A port in use is an error, unless we are in it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise port_taken(host, port) from error
    return listener


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def port_taken(host: str, port: int) -> UnavailableError:
    """The error for a port that cannot be had."""
    return UnavailableError(
        f"cannot listen on {format_address(host, port)}: somebody else does, or it is not ours",
        hint="stop the other program, or choose another port with --listen HOST:PORT",
    )
