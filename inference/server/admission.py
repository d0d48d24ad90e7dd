"""A bounded number of predictions: some running, some waiting, the rest told to come back.

Each model has a lane of its own, and all lanes share the threads. A thread takes what came while it
was busy, so requests that may share a run do so under load, and nobody waits for company when there
is none. Who cannot be answered in time is told at once, and who went away leaves the lane.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

from sealserve.native.errors import SealserveError, UnavailableError

_RETRY_SECONDS: Final = (0.1, 5.0)  # at least and at most
_LATEST: Final = 0.2  # weight of the last run in the mean of their times
Work = Callable[[Sequence[Any]], Sequence[Any]]


class BusyError(UnavailableError):
    """As many predictions as are allowed are running and waiting (gRPC: RESOURCE_EXHAUSTED)."""


@dataclass(slots=True, eq=False)
class Job:
    """One item of work until its outcome is known.

    kind: what others must have too that may share its run; None for no others. rows: its own.
    most_rows: of a run of its kind. deadline: on the clock `time.monotonic`.
    """

    item: Any
    future: asyncio.Future[Any]
    kind: Hashable | None = None
    rows: int = 1
    most_rows: int = 1
    deadline: float = float("inf")


class Lane:
    """What waits for one model, in the order it came.

    work: gives the outcome of each of some items of one kind, an Exception where it failed.
    running: turns at the same time. waiting: items beyond those. rows: what one turn can take.
    delay_seconds: how long an item may wait for company.
    """

    def __init__(
        self,
        work: Work,
        *,
        running: int,
        waiting: int,
        rows: int = 1,
        delay_seconds: float = 0.0,
    ) -> None:
        self.work = work
        self.limit = running + waiting
        self.admitted = 0  # counted by the event loop
        self._rows = rows
        self._delay_seconds = delay_seconds
        self._turns = running
        self._called = 0  # threads that were called for a turn and did not come yet
        self._taken = 0  # turns
        self._run_seconds = 0.0
        self._jobs: OrderedDict[Job, None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        return self._taken > 0

    def append(self, job: Job) -> float | None:
        """In how many seconds a thread is to be called; None if that is under way already."""
        with self._lock:
            self._jobs[job] = None
            waiting = len(self._jobs)
        if not self._delay_seconds or job.kind is None or waiting >= self._rows:
            return 0.0
        return self._delay_seconds if waiting == 1 else None

    def calls(self) -> bool:
        """Whether a thread has to be called now. Never more of them than there are turns."""
        with self._lock:
            if not self._jobs or self._called == self._turns:
                return False
            self._called += 1
            return True

    def remove(self, job: Job) -> bool:
        """Whether it was still there."""
        with self._lock:
            if job not in self._jobs:
                return False
            del self._jobs[job]
            return True

    def take(self) -> list[Job]:
        """Those of one turn, which `ended` has to follow; none if nobody waits or it is full.

        By a thread that was called.
        """
        with self._lock:
            self._called -= 1
            if self._taken == self._turns or not self._jobs:
                return []
            self._taken += 1
            taken = _together(self._jobs)
            for job in taken:
                del self._jobs[job]
            return taken

    def ended(self, seconds: float) -> None:
        """A turn is over, which took that long."""
        with self._lock:
            self._taken -= 1
            self._run_seconds += _LATEST * (seconds - self._run_seconds)

    def take_late(self, now: float) -> list[Job]:
        """Those at the head who waited past their deadline."""
        late: list[Job] = []
        with self._lock:
            while self._jobs and (first := next(iter(self._jobs))).deadline <= now:
                del self._jobs[first]
                late.append(first)
        return late

    def take_all(self) -> list[Job]:
        """Everybody who waits."""
        with self._lock:
            jobs = list(self._jobs)
            self._jobs.clear()
            return jobs

    def wait_seconds(self) -> float:
        """How long one more would wait at least, if runs go on taking what the last ones took."""
        turns = -(-len(self._jobs) // self._rows)
        return turns * self._run_seconds / self._turns


class Admission:
    """Runs work in threads, so that the event loop never waits for a model.

    Work whose caller went away before its turn is dropped; work that runs is counted until it
    really ends, because a thread cannot be stopped.
    """

    def __init__(self, *, running: int, waiting: int) -> None:
        self._limit = running + waiting
        self._admitted = 0
        self._lanes: set[Lane] = set()
        self._calls: SimpleQueue[Lane | None] = SimpleQueue()  # for a thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._serve, name=f"sealserve-run-{number}", daemon=True)
            for number in range(running)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def admitted(self) -> int:
        """How many run or wait."""
        return self._admitted

    async def run(
        self,
        lane: Lane,
        item: Any,
        *,
        kind: Hashable | None = None,
        rows: int = 1,
        most_rows: int = 1,
        deadline: float = float("inf"),
    ) -> Any:
        """The outcome of one item.

        Raises BusyError at once when there is no room, TimeoutError when it would be late, and what
        its work failed with.
        """
        loop = self._loop = asyncio.get_running_loop()
        self.require_room(lane)
        if deadline - time.monotonic() <= lane.wait_seconds():
            raise TimeoutError
        job = Job(item, loop.create_future(), kind, rows, most_rows, deadline)
        self._lanes.add(lane)
        self._count(lane, 1)
        delay = lane.append(job)
        if delay:
            loop.call_later(delay, self._call, lane)
        elif delay is not None:
            self._call(lane)
        try:
            return await job.future
        finally:
            if lane.remove(job):
                self._count(lane, -1)
            del job, item  # it has the error that has this frame, and what the work was done on

    def require_room(self, lane: Lane) -> None:
        """BusyError if one more would be refused."""
        if self._admitted < self._limit and lane.admitted < lane.limit:
            return
        late = lane.take_late(time.monotonic())
        self._tell(lane, late, [TimeoutError()] * len(late))
        if self._admitted < self._limit and lane.admitted < lane.limit:
            return
        raise BusyError(
            f"{min(self._limit, lane.limit)} predictions are running and waiting, which is this "
            "server's limit",
            retry_after_seconds=min(max(lane.wait_seconds(), _RETRY_SECONDS[0]), _RETRY_SECONDS[1]),
        )

    def close(self) -> bool:
        """Take no more and drop what waits. False if something runs on, as it cannot be stopped."""
        for lane in self._lanes:
            for job in lane.take_all():
                job.future.cancel()
                self._count(lane, -1)
        for _ in self._threads:
            self._calls.put(None)
        return not any(lane.is_running for lane in self._lanes)

    def _serve(self) -> None:
        """A thread's whole life: one turn after the other."""
        while (lane := self._calls.get()) is not None:
            if jobs := lane.take():
                self._turn(lane, jobs)
            del lane, jobs  # nobody's message is kept until the next call

    def _call(self, lane: Lane) -> None:
        if lane.calls():
            self._calls.put(lane)

    def _turn(self, lane: Lane, jobs: Sequence[Job]) -> None:
        began = time.monotonic()
        late = [job for job in jobs if job.deadline <= began]
        in_time = [job for job in jobs if job.deadline > began]
        outcomes = _outcomes(lane.work, [job.item for job in in_time]) if in_time else []
        lane.ended(time.monotonic() - began)
        self._call(lane)
        assert self._loop is not None
        with suppress(RuntimeError):  # a loop that is closed counts nothing any more
            self._loop.call_soon_threadsafe(
                self._tell, lane, [*late, *in_time], [*([TimeoutError()] * len(late)), *outcomes]
            )

    def _tell(self, lane: Lane, jobs: Iterable[Job], outcomes: Iterable[Any]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._count(lane, -1)
            if job.future.done():
                continue  # its caller went away
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _count(self, lane: Lane, more: int) -> None:
        self._admitted += more
        lane.admitted += more


def _together(jobs: Iterable[Job]) -> list[Job]:
    """The first, and those of its kind that fit in."""
    waiting = iter(jobs)
    taken = [next(waiting)]
    first, rows = taken[0], taken[0].rows
    if first.kind is None:
        return taken
    for job in waiting:
        if rows >= first.most_rows:
            break
        if job.kind == first.kind and rows + job.rows <= first.most_rows:
            taken.append(job)
            rows += job.rows
    return taken


def _outcomes(work: Work, items: Sequence[Any]) -> Sequence[Any]:
    try:
        outcomes = work(items)
    except Exception as error:  # whatever it was: nobody may be left without an outcome
        outcomes = [error] * len(items)
    except BaseException:  # a panic in native code; the event loop would end with it
        outcomes = [SealserveError("the model failed")] * len(items)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            _forget_frames(outcome)
    return outcomes


def _forget_frames(error: BaseException) -> None:
    """Frames refer to those that called them, and so to every message of the turn."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
