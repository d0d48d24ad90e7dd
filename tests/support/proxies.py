"""A proxy in a thread of this process, and plain calls to it."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.pool_async import AsyncPool
from sealserve.inference.client.terms import Terms
from sealserve.inference.proxy.app import Limits, Proxy
from sealserve.inference.proxy.place import Place
from sealserve.policy import Trust
from support.client_server import LoopThread

CALL_SECONDS = 10.0
HEALTH = "/grpc.health.v1.Health/Check"


class LocalProxy:
    """Started for a target; `channel` is what a program of this machine has."""

    def __init__(
        self,
        target: str,
        trust: Trust,
        *,
        place: Place | None = None,
        limits: Limits | None = None,
        **terms: Any,
    ) -> None:
        self.loop = LoopThread()
        chosen = place or Place("127.0.0.1", 0)

        async def start() -> Any:
            self.pool = await AsyncPool.of(target, Terms(trust, **terms))
            self.proxy = Proxy(self.pool, chosen, limits or Limits(drain_seconds=1.0))
            try:
                return await self.proxy.start(Deadline(CALL_SECONDS))
            except BaseException:
                await self.proxy.stop()
                raise

        try:
            self.ready = self.loop.run(start())
        except BaseException:
            self.loop.stop()
            raise
        self.channel = grpc.insecure_channel(
            self.ready.place,
            [
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.enable_retries", 0),
            ],
        )

    def start(self, path: str, message: Message | bytes, **options: Any) -> Any:
        """Begin a call; a future of its answer."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        options.setdefault("timeout", CALL_SECONDS)
        return self.channel.unary_unary(path).future(data, **options)

    def call(self, path: str, message: Message | bytes = b"", **options: Any) -> bytes:
        """The answer; grpc.RpcError if there is none."""
        answer: bytes = self.start(path, message, **options).result()
        return answer

    def health(self, service: str = "") -> int:
        """What the health service says."""
        asked = health_pb2.HealthCheckRequest(service=service)
        status: int = health_pb2.HealthCheckResponse.FromString(self.call(HEALTH, asked)).status
        return status

    def stop(self) -> None:
        self.channel.close()
        self.loop.run(self.proxy.stop())
        self.loop.stop()

    def __enter__(self) -> LocalProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
