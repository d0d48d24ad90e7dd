"""Ports of the loopback interface, for programs that cannot be told to take any."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

SECONDS = 10.0


def free_ports(count: int) -> tuple[int, ...]:
    """Nobody keeps them until they are used."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(probe.getsockname()[1] for probe in probes)


def wait_for(port: int) -> None:
    """Until somebody listens there; RuntimeError if nobody does."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens on port {port}")
