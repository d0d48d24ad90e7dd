"""Free TCP ports of the loopback."""

from __future__ import annotations

import socket
from contextlib import suppress


def free_port() -> int:
    """A port nobody listens on; the kernel does not hand it out again soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_of_nobody() -> int:
    """A port for a caller's side that the kernel hands to nobody else: below its own range."""
    for port in range(20_000, 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise AssertionError("all ports are in use")
