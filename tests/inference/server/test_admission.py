"""So many predictions run, so many wait, and the next one is told to come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from sealserve.inference.server.admission import Admission, BusyError


class Gated:
    """Work that says when it begins and ends when it may."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.gate = threading.Event()
        self.runs = 0

    def __call__(self) -> int:
        self.runs += 1
        self.began.release()
        self.gate.wait()
        return self.runs


async def begun(work: Gated) -> None:
    await asyncio.to_thread(work.began.acquire)


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something that was set in motion has happened."""
    while not holds():
        await asyncio.sleep(0)


def test_gives_back_what_the_work_returns() -> None:
    async def main() -> int:
        admission = Admission(running=1, waiting=1)
        try:
            return await admission.run(lambda: 7)
        finally:
            admission.close()

    assert asyncio.run(main()) == 7


def test_raises_what_the_work_raises() -> None:
    async def main() -> None:
        admission = Admission(running=1, waiting=1)
        try:
            await admission.run(lambda: {}["absent"])
        finally:
            admission.close()

    with pytest.raises(KeyError):
        asyncio.run(main())


@pytest.mark.parametrize(("running", "waiting"), [(1, 1), (2, 3)])
def test_one_more_than_the_limit_is_refused_at_once(running: int, waiting: int) -> None:
    async def main() -> None:
        admission, work = Admission(running=running, waiting=waiting), Gated()
        admitted = [asyncio.create_task(admission.run(work)) for _ in range(running + waiting)]
        for _ in range(running):
            await begun(work)
        with pytest.raises(BusyError, match=f"{running + waiting} predictions") as refused:
            await admission.run(work)
        assert refused.value.retry_after_seconds > 0
        assert work.runs == running
        work.gate.set()
        assert len(await asyncio.gather(*admitted)) == running + waiting
        assert await admission.run(lambda: "room again") == "room again"
        admission.close()

    asyncio.run(main())


def test_work_whose_caller_left_before_its_turn_never_runs() -> None:
    async def main() -> None:
        admission, work = Admission(running=1, waiting=1), Gated()
        first = asyncio.create_task(admission.run(work))
        await begun(work)
        second = asyncio.create_task(admission.run(work))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.create_task(admission.run(lambda: "its place is free"))
        await asyncio.sleep(0)
        work.gate.set()
        assert await first == 1
        assert await third == "its place is free"
        admission.close()

    asyncio.run(main())


def test_work_that_runs_counts_until_it_ends_though_its_caller_left() -> None:
    async def main() -> None:
        admission, work = Admission(running=1, waiting=1), Gated()
        first = asyncio.create_task(admission.run(work))
        await begun(work)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        waiting = asyncio.create_task(admission.run(lambda: "after it"))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await admission.run(work)
        work.gate.set()
        assert await waiting == "after it"
        admission.close()

    asyncio.run(main())


def test_failures_give_their_place_back() -> None:
    async def main() -> None:
        admission = Admission(running=1, waiting=1)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await admission.run(lambda: 1 // 0)
            await until(lambda: admission._admitted == 0)
        admission.close()

    asyncio.run(main())


def test_closing_drops_what_waits_and_tells_that_something_still_runs() -> None:
    async def main() -> None:
        admission, work = Admission(running=1, waiting=1), Gated()
        first = asyncio.create_task(admission.run(work))
        await begun(work)
        second = asyncio.create_task(admission.run(work))
        await asyncio.sleep(0)
        assert admission.close() is False
        with pytest.raises(asyncio.CancelledError):
            await second
        work.gate.set()
        assert await first == 1
        assert admission.close() is True

    asyncio.run(main())


def test_work_that_ends_after_its_loop_did_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Gated()

    async def main() -> Admission:
        admission = Admission(running=1, waiting=1)
        first = asyncio.create_task(admission.run(work))
        await begun(work)
        first.cancel()
        return admission

    admission = asyncio.run(main())
    work.gate.set()
    admission._pool.shutdown()
    assert work.runs == 1
    assert caplog.text == ""
