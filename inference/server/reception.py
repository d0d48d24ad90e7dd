"""What an operator asked for beside serving: taken at once, served when there is something to say.

The port and the path are looked at before anything else is done, so that a server which could not
have them ends before it fetches a key. They are served by a process of their own (front_desk.py),
which alone holds the end that may ask for models to be loaded and unloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sealserve.inference.server import commands
from sealserve.inference.server.config import ServerConfig
from sealserve.inference.server.control_path import require_free
from sealserve.inference.server.status_address import bound
from sealserve.inference.server.table import FRONT_DESK, Table


class Reception:
    """Where the operator is received; `commanded` is the supervisor's end of what he asks for."""

    def __init__(self, config: ServerConfig) -> None:
        """Raises ConfigError and UnavailableError if a port or path cannot be had."""
        self._control = config.model_control
        if self._control:
            require_free(self._control)
        self._listener = (
            bound(config.status_host, config.status_port) if config.status_host else None
        )
        self._commander, self.commanded = commands.pair()

    def serve(self, table: Table, ready: Callable[[], None]) -> None:
        """In a process of its own, until SIGTERM. ready: called once, when it listens."""
        from sealserve.inference.server import front_desk  # gRPC comes with it
        from sealserve.inference.server.model_control import control_handlers
        from sealserve.inference.server.totals import totals

        control = control_handlers(
            self._commander,
            partial(totals, table),
            table.slot(FRONT_DESK),
            seconds=commands.ANSWER_SECONDS,
        )
        front_desk.run(table, front_desk.Desk(self._listener, self._control, (control,)), ready)

    def close(self) -> None:
        """Give it up, in every process but the one that serves it."""
        self._commander.close()
        if self._listener:
            self._listener.close()


def reception_for(config: ServerConfig) -> Reception | None:
    """None where the operator asked for nothing."""
    return Reception(config) if config.status_host or config.model_control else None
