"""A bounded number of predictions: some running, some waiting, the rest told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sealserve.native.errors import UnavailableError

RETRY_SECONDS: Final = 0.1
Result = TypeVar("Result")


class BusyError(UnavailableError):
    """As many predictions as are allowed are running and waiting (gRPC: RESOURCE_EXHAUSTED)."""


class Admission:
    """Runs work in threads, so that the event loop never waits for the model.

    Work whose caller went away before its turn is dropped; work that runs is counted until it
    really ends, because a thread cannot be stopped.
    """

    def __init__(self, *, running: int, waiting: int) -> None:
        self._limit = running + waiting
        self._admitted = 0
        self._pool = ThreadPoolExecutor(running, thread_name_prefix="sealserve-run")

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work`; BusyError at once when there is no room."""
        if self._admitted >= self._limit:
            raise BusyError(
                f"{self._limit} predictions are running and waiting, which is this server's limit",
                retry_after_seconds=RETRY_SECONDS,
            )
        loop = asyncio.get_running_loop()
        self._admitted += 1
        job = self._pool.submit(work)
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return await asyncio.wrap_future(job, loop=loop)

    def close(self) -> None:
        """Wait for what runs, drop what waits."""
        self._pool.shutdown(cancel_futures=True)

    def _leave(self) -> None:
        self._admitted -= 1
