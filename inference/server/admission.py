"""A bounded number of predictions: some running, some waiting, the rest told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

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
        self._jobs: set[Future[Any]] = set()
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
        self._jobs.add(job)
        job.add_done_callback(lambda done: self._ended(done, loop))
        try:
            return await asyncio.wrap_future(job, loop=loop)
        finally:
            del job  # it has the error that has this frame, and what the work was done on

    def close(self) -> bool:
        """Take no more and drop what waits. False if something runs on, as it cannot be stopped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not any(job.running() for job in list(self._jobs))

    def _ended(self, job: Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        """In the job's thread: its place is free, which the loop counts."""
        self._jobs.discard(job)
        with suppress(RuntimeError):  # a loop that is closed counts nothing any more
            loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._admitted -= 1
