"""Free TCP ports of the loopback."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port nobody listens on; the kernel does not hand it out again soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
