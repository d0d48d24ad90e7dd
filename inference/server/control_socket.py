"""The operator's Unix socket: a path that only its owner reaches, and that is gone afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sealserve.inference.server.control_path import require_free, unusable

_ONLY_THE_OWNER: Final = 0o177
_MAX_MESSAGE_BYTES: Final = 64 * 1024  # names, and an index of 32 models
_MAX_CALLS: Final = 16
_DRAIN_SECONDS: Final = 1.0


class ControlSocket:
    """A gRPC server on the path, to be entered on an event loop. handlers: of its services."""

    def __init__(self, path: str, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self._path = path
        self._health = health.aio.HealthServicer()
        self._grpc = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", _MAX_CALLS),
            ],
            maximum_concurrent_rpcs=_MAX_CALLS,
        )
        self._grpc.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)

    async def __aenter__(self) -> ControlSocket:
        """Listen. Raises as `require_free`."""
        require_free(self._path)
        before = os.umask(_ONLY_THE_OWNER)
        try:
            # gRPC takes the address for a URI and undoes what is escaped in it.
            self._grpc.add_insecure_port(f"unix:{quote(self._path)}")
            await self._grpc.start()
        except RuntimeError as error:
            raise unusable(self._path, "it cannot be bound") from error
        finally:
            os.umask(before)
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
        await self._grpc.stop(_DRAIN_SECONDS)
        self._remove()

    def _remove(self) -> None:
        """Take the path away, if it is still ours; gRPC may have done so."""
        path = Path(self._path)
        try:
            if path.lstat().st_ino == self._inode:
                path.unlink()
        except FileNotFoundError:
            pass
