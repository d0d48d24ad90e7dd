"""The operator's Unix socket: a path that only its owner reaches, and that is gone afterwards."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sealserve.inference.server.control_path import require_free, unusable
from sealserve.inference.transport.server import Server, TransportLimits

_ONLY_THE_OWNER: Final = 0o177
_DRAIN_SECONDS: Final = 1.0
_LIMITS: Final = TransportLimits(
    message_bytes=64 * 1024,  # names, and an index of 32 models
    metadata_bytes=16 * 1024,
    connections=64,
    peer_connections=64,
    calls=16,
    streams=32,
    seconds=3600.0,
    grace=_DRAIN_SECONDS,
    patience=60.0,
)


class ControlSocket:
    """A gRPC server on the path, to be entered on an event loop. handlers: of its services."""

    def __init__(self, path: str, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self._path = path
        self._health = health.aio.HealthServicer()
        self._transport = Server(_LIMITS, lambda _peer: "the operator")
        self._transport.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._transport)

    async def __aenter__(self) -> ControlSocket:
        """Listen. Raises as `require_free`."""
        require_free(self._path)
        self._transport.listen(self._bound(), tls=None)
        self._inode = Path(self._path).lstat().st_ino
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._health.enter_graceful_shutdown()
        await self._transport.stop(_DRAIN_SECONDS)
        self._remove()

    def _bound(self) -> socket.socket:
        before = os.umask(_ONLY_THE_OWNER)
        listener = socket.socket(socket.AF_UNIX)
        try:
            Path(self._path).unlink(missing_ok=True)  # what a server left that was killed
            listener.bind(self._path)
        except OSError as error:
            listener.close()
            raise unusable(self._path, "it cannot be bound") from error
        finally:
            os.umask(before)
        return listener

    def _remove(self) -> None:
        """Take the path away, if it is still ours."""
        path = Path(self._path)
        try:
            if path.lstat().st_ino == self._inode:
                path.unlink()
        except FileNotFoundError:
            pass
