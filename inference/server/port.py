"""The port, and the one socket at which all who serve take their connections.

It is bound before anything else is done, so that nobody slips in, and it listens once there is
somebody who answers. Every worker of every generation inherits it: a connection that waits there
belongs to no process, and waits on when one of them ends.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

from sealserve.inference.wire.address import format_address
from sealserve.native.errors import UnavailableError


class HeldPort:
    """A port of ours. port: its number, also if it was asked as 0. listener: the socket."""

    def __init__(self, host: str, port: int) -> None:
        """UnavailableError if somebody listens there."""
        # asyncio sends small answers at once (TCP_NODELAY) where it is told that this is TCP.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener: Final = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # Connections of the last server may still be on their way out.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.listener.bind((host, port))
        except OSError as error:
            self.listener.close()
            raise port_taken(host, port) from error
        self.port: Final[int] = self.listener.getsockname()[1]

    def close(self) -> None:
        """Have no part in it any more, in this process."""
        self.listener.close()

    def refuse(self) -> None:
        """Nobody listens any more, in whatever process: who comes now is refused at once."""
        with suppress(OSError):  # nobody did yet
            self.listener.shutdown(socket.SHUT_RDWR)


def port_taken(host: str, port: int) -> UnavailableError:
    """The error for a port that cannot be had."""
    return UnavailableError(
        f"cannot listen on {format_address(host, port)}: somebody else does, or it is not ours",
        hint="stop the other program, or choose another port with --listen HOST:PORT",
    )
