"""The operator's process, as the supervisor keeps it: opened first, again when it ends, gone last.

Calls are answered without it, so its end is no reason for the server's.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

from sealserve.inference.server import failures
from sealserve.inference.server.channel import Channel, Kind, Message
from sealserve.inference.server.children import Children, Process
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.loop import Loop
from sealserve.inference.server.process import Closable
from sealserve.inference.server.reception import Reception
from sealserve.inference.server.restarts import Restarts
from sealserve.inference.server.table import FRONT_DESK, Table
from sealserve.native.errors import UnavailableError


class Desk:
    """What serves a reception. failed: told why it cannot be opened the first time."""

    def __init__(
        self,
        reception: Reception | None,
        table: Table,
        loop: Loop,
        children: Children,
        failed: Callable[[Exception], None],
        restarts: Restarts,
        closing: Sequence[Closable],
    ) -> None:
        """reception: None where the operator asked for none. closing: what it has no use for."""
        self._reception = reception
        self._table = table
        self._loop = loop
        self._children = children
        self._failed = failed
        self._restarts = restarts
        self._closing = closing
        self._listened = False
        self._leaving = False
        self.process: Process | None = None

    def open(self, listening: Callable[[], None]) -> None:
        """listening: called when the operator is received, or at once if he did not ask for it."""
        reception = self._reception
        if reception is None:
            listening()
            return

        def serve(up: Channel) -> int:
            reception.serve(self._table, lambda: up.send(Kind.LISTENING, workers=[]))
            return 0

        def told(message: Message, _: Channel) -> None:
            if message.kind is Kind.LISTENING:
                self._listened = True
                listening()
            elif message.kind is Kind.FAILED and not self._listened:
                self._failed(failures.raised(message.values))

        self.process = self._children.fork(
            self._table.slot(FRONT_DESK), serve, told, self._ended, self._closing
        )

    def close(self) -> None:
        """It is not opened again; until it is alone it says that the server drains."""
        self._leaving = True
        self.leave_last()

    def leave_last(self) -> None:
        """Called whenever another process has ended, too."""
        if self._leaving and self.process is not None and len(self._children) == 1:
            self.process.child.send(signal.SIGTERM)

    def _ended(self) -> None:
        self.process = None
        if self._leaving:
            return
        if not self._listened:
            self._failed(UnavailableError("the operator's process ended by itself"))
            return
        pause = self._restarts.died(time.monotonic())
        log(Event.DESK_ENDED, again=pause is not None)
        if pause is not None:
            self._loop.after(pause, self._open_again)

    def _open_again(self) -> None:
        if not self._leaving:
            self.open(lambda: None)
