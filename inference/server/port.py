"""Is the port ours to listen on?"""

from __future__ import annotations

import socket

from sealserve.inference.wire.address import format_address
from sealserve.native.errors import UnavailableError


def require_free_port(host: str, port: int) -> None:
    """UnavailableError if somebody listens there; gRPC itself would share the port silently."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise port_taken(host, port) from error


def port_taken(host: str, port: int) -> UnavailableError:
    """The error for a port that cannot be had."""
    return UnavailableError(
        f"cannot listen on {format_address(host, port)}: somebody else does, or it is not ours",
        hint="stop the other program, or choose another port with --listen HOST:PORT",
    )
