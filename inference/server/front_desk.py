"""The operator's process: its pages over HTTP, and its Unix socket for control.

It is no part of serving: it holds no key and no model, reads the table, and asks the supervisor for
what it is told to ask for. Whether it is slow, busy or gone, calls are answered all the same.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import grpc

from sealserve.inference.server import status
from sealserve.inference.server.control_socket import ControlSocket
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.table import Table
from sealserve.keys import serving

_DRAIN_SECONDS: Final = 2  # a page takes far less


@dataclass(frozen=True, slots=True)
class Desk:
    """What the operator asked for. listener: bound, for the pages; None without.

    control: path of the Unix socket; "" without. handlers: what that socket answers.
    """

    listener: socket.socket | None = None
    control: str = ""
    handlers: tuple[grpc.GenericRpcHandler, ...] = ()


def run(table: Table, desk: Desk, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, as a process. ready: called once, when all of it listens.

    Raises ConfigError and UnavailableError for the path.
    """
    asyncio.run(_serve(table, desk, ready))


async def _serve(table: Table, desk: Desk, ready: Callable[[], None]) -> None:
    async with AsyncExitStack() as open_now:
        if desk.control:
            await open_now.enter_async_context(ControlSocket(desk.control, desk.handlers))
            log(Event.CONTROL_LISTENING, path=desk.control)
        if desk.listener:
            await _pages(table, desk.listener, ready)
        else:
            ready()
            await _signalled()


async def _pages(table: Table, listener: socket.socket, ready: Callable[[], None]) -> None:
    host, port = listener.getsockname()[:2]

    def announce() -> None:
        log(Event.STATUS_LISTENING, host=host, port=port)
        ready()

    serving.limit_descriptors()
    server = serving.Server(
        serving.config_of(status.build(table), drain_seconds=_DRAIN_SECONDS),
        announce=announce,
        failed=lambda error: log(Event.DESK_FAILED, error=error),
    )
    await server.serve([listener])


async def _signalled() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
