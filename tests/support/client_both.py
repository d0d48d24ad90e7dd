"""The client for threads and the one for asyncio, with the same face for a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sealserve.inference.client import connect, connect_async
from support.client_server import LoopThread


class OfAsyncio:
    """An `AsyncClient` in a loop of its own; every method waits for its end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = LoopThread()
        try:
            self._client = self._loop.run(connect_async(*arguments, **options))
        except BaseException:
            self._loop.stop()
            raise

    @property
    def replicas(self) -> Any:
        return self._client.replicas

    @property
    def pool(self) -> Any:
        return self._client._pool

    def models(self) -> Any:
        return self._client.models()

    def predict(self, *arguments: Any, **options: Any) -> Any:
        return self._loop.run(self._client.predict(*arguments, **options))

    def served(self) -> Any:
        return self._loop.run(self._client.served())

    def recheck(self, **options: Any) -> Any:
        return self._loop.run(self._client.recheck(**options))

    def __enter__(self) -> OfAsyncio:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._client.close())
        self._loop.stop()


BOTH: dict[str, Callable[..., Any]] = {"threads": connect, "asyncio": OfAsyncio}
