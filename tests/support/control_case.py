"""The operator's calls on a Unix socket, with somebody behind them who only writes things down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from sealserve.inference.server.commands import KnownModel
from sealserve.inference.server.model_control import control_handlers
from sealserve.inference.server.table import FRONT_DESK, Table
from sealserve.inference.server.totals import totals
from support.client_server import LoopThread
from support.server_case import CALL_SECONDS

ROOT = "11" * 32


class Control:
    """Does nothing and writes it down. fails: what loading and unloading end with."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails: Exception | None = None

    def load(self, model: str) -> None:
        self._do(f"load {model}")

    def unload(self, model: str) -> None:
        self._do(f"unload {model}")

    def _do(self, what: str) -> None:
        if self.fails:
            raise self.fails
        self.done.append(what)

    def models(self) -> list[KnownModel]:
        return [KnownModel("m", "1", "11" * 32, True), KnownModel("n", "2", "22" * 32, False)]


class Socket:
    """A server on a Unix socket, with nothing but the operator's calls."""

    def __init__(self, control: Control, path: Path) -> None:
        self._control = control
        self.table = Table([ROOT], 1)
        self.table.describe(ROOT, "m", "1")
        self._loop = LoopThread()
        self._loop.run(self._start(f"unix:{path}"))
        self.channel = grpc.insecure_channel(f"unix:{path}")

    async def _start(self, address: str) -> None:
        self._server = grpc.aio.server()
        slot = self.table.slot(FRONT_DESK)
        handlers = control_handlers(
            self._control, lambda: totals(self.table), slot, seconds=CALL_SECONDS
        )
        self._server.add_generic_rpc_handlers((handlers,))
        self._server.add_insecure_port(address)
        await self._server.start()

    def call(self, path: str, message: Any) -> Any:
        call = self.channel.unary_unary(path)
        return call.future(message.SerializeToString(), timeout=CALL_SECONDS)

    def stop(self) -> None:
        self.channel.close()
        self._loop.run(self._server.stop(None))
        self._loop.stop()
