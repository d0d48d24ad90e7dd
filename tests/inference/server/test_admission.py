"""So many predictions run, so many wait, and the next one is told to come back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sealserve.inference.server.admission import Admission, BusyError, Lane
from sealserve.native.errors import SealserveError


class Gated:
    """Work that says when it begins and ends when it may; each turn's items are kept."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.gate = threading.Event()
        self.turns: list[list[Any]] = []

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.turns.append(list(items))
        self.began.release()
        self.gate.wait()
        return [f"done {item}" for item in items]


def each(change: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda items: [change(item) for item in items]


def lane(work: Callable[[Sequence[Any]], Sequence[Any]], **options: Any) -> Lane:
    return Lane(work, **{"running": 9, "waiting": 99, **options})


async def begun(work: Gated) -> None:
    await asyncio.to_thread(work.began.acquire)


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something that was set in motion has happened."""
    while not holds():
        await asyncio.sleep(0)


def run(main: Callable[[Admission], Any], *, running: int = 1, waiting: int = 1) -> Any:
    async def inside() -> Any:
        admission = Admission(running=running, waiting=waiting)
        try:
            return await main(admission)
        finally:
            admission.close()

    return asyncio.run(inside())


def test_gives_back_what_the_work_returns() -> None:
    assert run(lambda admission: admission.run(lane(each(str)), 7)) == "7"


def test_raises_what_the_work_raises() -> None:
    def fails(_items: Sequence[Any]) -> list[Any]:
        raise KeyError("absent")

    with pytest.raises(KeyError):
        run(lambda admission: admission.run(lane(fails), 7))


def test_raises_what_the_work_gives_for_an_item() -> None:
    with pytest.raises(KeyError):
        run(lambda admission: admission.run(lane(each(KeyError)), 7))


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, SystemExit])
def test_thread_and_loop_outlive_whatever_the_work_raises(kind: type[BaseException]) -> None:
    def fails(_items: Sequence[Any]) -> list[Any]:
        raise kind

    async def main(admission: Admission) -> Any:
        with pytest.raises((MemoryError, SealserveError)):
            await admission.run(lane(fails), 1)
        return await admission.run(lane(each(str)), 2)

    assert run(main) == "2"


@pytest.mark.parametrize(("running", "waiting"), [(1, 1), (2, 3)])
def test_one_more_than_the_limit_is_refused_at_once(running: int, waiting: int) -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work)
        admitted = [
            asyncio.create_task(admission.run(its, item)) for item in range(running + waiting)
        ]
        for _ in range(running):
            await begun(work)
        with pytest.raises(BusyError, match=f"{running + waiting} predictions") as refused:
            await admission.run(its, "one more")
        assert refused.value.retry_after_seconds > 0
        assert len(work.turns) == running
        work.gate.set()
        assert len(await asyncio.gather(*admitted)) == running + waiting
        assert await admission.run(its, "again") == "done again"

    run(main, running=running, waiting=waiting)


def test_a_lane_has_a_limit_of_its_own_and_leaves_room_for_others() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work, running=1, waiting=1)
        admitted = [asyncio.create_task(admission.run(its, item)) for item in range(2)]
        await begun(work)
        with pytest.raises(BusyError, match="2 predictions"):
            await admission.run(its, "one more")
        assert await admission.run(lane(each(str)), "another model's") == "another model's"
        work.gate.set()
        await asyncio.gather(*admitted)

    run(main, running=3, waiting=9)


def test_a_lane_has_no_more_turns_at_once_than_it_may() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work, running=1)
        admitted = [asyncio.create_task(admission.run(its, item)) for item in range(5)]
        await begun(work)
        assert await admission.run(lane(each(str)), "meanwhile") == "meanwhile"
        assert len(work.turns) == 1
        work.gate.set()
        assert await asyncio.gather(*admitted) == [f"done {item}" for item in range(5)]
        assert [len(turn) for turn in work.turns] == [1] * 5

    run(main, running=2, waiting=9)


# ---- who went away, or is too late


def test_work_whose_caller_left_before_its_turn_never_runs() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work)
        first = asyncio.create_task(admission.run(its, 1))
        await begun(work)
        second = asyncio.create_task(admission.run(its, 2))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.create_task(admission.run(its, "its place is free"))
        await asyncio.sleep(0)
        work.gate.set()
        assert await first == "done 1"
        assert await third == "done its place is free"
        assert work.turns == [[1], ["its place is free"]]

    run(main)


def test_work_that_runs_counts_until_it_ends_though_its_caller_left() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work)
        first = asyncio.create_task(admission.run(its, 1))
        await begun(work)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        waiting = asyncio.create_task(admission.run(its, "after it"))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await admission.run(its, "one more")
        work.gate.set()
        assert await waiting == "done after it"

    run(main)


def test_failures_give_their_place_back() -> None:
    async def main(admission: Admission) -> None:
        its = lane(each(ZeroDivisionError))
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await admission.run(its, 1)
        assert admission.admitted == its.admitted == 0

    run(main)


def test_a_deadline_that_has_passed_is_refused_before_any_work() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        with pytest.raises(TimeoutError):
            await admission.run(lane(work), 1, deadline=time.monotonic())
        assert (work.turns, admission.admitted) == ([], 0)

    run(main)


def test_a_deadline_that_passes_while_work_waits_takes_it_out() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work)
        first = asyncio.create_task(admission.run(its, 1))
        await begun(work)
        soon = time.monotonic() + 0.01
        late = asyncio.create_task(admission.run(its, 2, deadline=soon))
        await until(lambda: time.monotonic() > soon)
        work.gate.set()
        with pytest.raises(TimeoutError):
            await late
        assert await first == "done 1"
        assert work.turns == [[1]]
        assert admission.admitted == its.admitted == 0

    run(main)


def test_who_is_late_makes_room_for_who_is_not() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work)
        first = asyncio.create_task(admission.run(its, 1))
        await begun(work)
        soon = time.monotonic() + 0.01
        late = asyncio.create_task(admission.run(its, 2, deadline=soon))
        await until(lambda: time.monotonic() > soon)
        third = asyncio.create_task(admission.run(its, 3))
        with pytest.raises(TimeoutError):
            await late
        work.gate.set()
        assert await asyncio.gather(first, third) == ["done 1", "done 3"]

    run(main)


def test_a_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    """By what runs took so far, and only while somebody else waits."""

    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work)
        its._run_seconds = 3600.0
        first = asyncio.create_task(
            admission.run(its, "nobody waits", deadline=time.monotonic() + 60)
        )
        await begun(work)
        second = asyncio.create_task(admission.run(its, "no deadline"))
        await until(lambda: admission.admitted == 2)
        with pytest.raises(TimeoutError):
            await admission.run(its, "in vain", deadline=time.monotonic() + 60)
        work.gate.set()
        await asyncio.gather(first, second)
        assert work.turns == [["nobody waits"], ["no deadline"]]

    run(main, waiting=9)


def test_who_is_refused_is_told_how_long_the_others_take() -> None:
    async def main(admission: Admission) -> list[float]:
        work = Gated()
        its = lane(work, running=1)
        admitted = [asyncio.create_task(admission.run(its, item)) for item in range(3)]
        await begun(work)
        told = []
        for seconds in (0.0, 1.0, 3600.0):
            its._run_seconds = seconds
            with pytest.raises(BusyError) as refused:
                await admission.run(its, "one more")
            told.append(refused.value.retry_after_seconds)
        work.gate.set()
        await asyncio.gather(*admitted)
        return told

    assert run(main, waiting=2) == [0.1, 2.0, 5.0]


# ---- company


def test_what_came_while_a_turn_was_busy_shares_the_next_one() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work, running=1, rows=8)
        tasks = [asyncio.create_task(admission.run(its, 0, kind="k", most_rows=8))]
        await begun(work)
        for kind, item in (("k", 1), ("other", 2), ("k", 3), (None, 4), ("k", 5), (None, 6)):
            tasks.append(asyncio.create_task(admission.run(its, item, kind=kind, most_rows=8)))
        await until(lambda: admission.admitted == 7)
        work.gate.set()
        assert await asyncio.gather(*tasks) == [f"done {item}" for item in range(7)]
        assert work.turns == [[0], [1, 3, 5], [2], [4], [6]]

    run(main, waiting=9)


def test_a_turn_has_no_more_rows_than_it_may() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work, running=1, rows=8)
        tasks = [asyncio.create_task(admission.run(its, "first"))]
        await begun(work)
        for rows in (5, 4, 3, 2, 9):
            tasks.append(
                asyncio.create_task(admission.run(its, rows, kind="k", rows=rows, most_rows=8))
            )
        await until(lambda: admission.admitted == 6)
        work.gate.set()
        await asyncio.gather(*tasks)
        assert work.turns == [["first"], [5, 3], [4, 2], [9]]

    run(main, waiting=9)


def test_company_is_waited_for_when_told_and_no_longer_than_told() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        work.gate.set()
        its = lane(work, rows=3, delay_seconds=0.05)
        told = {"kind": "k", "most_rows": 3}
        together = await asyncio.gather(*(admission.run(its, item, **told) for item in "ab"))
        assert together == ["done a", "done b"]
        assert work.turns == [["a", "b"]]

    run(main, running=2, waiting=9)


def test_a_full_turn_waits_for_nobody() -> None:
    async def main(admission: Admission) -> None:
        work = Gated()
        work.gate.set()
        its = lane(work, rows=3, delay_seconds=3600.0)
        told = {"kind": "k", "most_rows": 3}
        await asyncio.gather(*(admission.run(its, item, **told) for item in "abc"))
        assert work.turns == [["a", "b", "c"]]
        assert await admission.run(its, "of no kind") == "done of no kind"

    run(main, running=2, waiting=9)


def test_calls_for_threads_do_not_pile_up() -> None:
    """Each turn takes many items under load, and nothing may be left over of each item."""

    async def main(admission: Admission) -> None:
        work = Gated()
        its = lane(work, running=1, rows=64)
        for _ in range(20):
            work.gate.clear()
            tasks = [
                asyncio.create_task(admission.run(its, item, kind="k", most_rows=64))
                for item in range(50)
            ]
            await until(lambda: admission.admitted == 50)
            assert admission._calls.qsize() <= 1
            work.gate.set()
            await asyncio.gather(*tasks)
        assert len(work.turns) <= 2 * 20

    run(main, waiting=99)


# ---- the end


def test_closing_drops_what_waits_and_tells_that_something_still_runs() -> None:
    async def main() -> None:
        admission, work = Admission(running=1, waiting=1), Gated()
        its = lane(work)
        first = asyncio.create_task(admission.run(its, 1))
        await begun(work)
        second = asyncio.create_task(admission.run(its, 2))
        await asyncio.sleep(0)
        assert admission.close() is False
        with pytest.raises(asyncio.CancelledError):
            await second
        work.gate.set()
        assert await first == "done 1"
        assert admission.close() is True
        assert admission.admitted == 0

    asyncio.run(main())


def test_work_that_ends_after_its_loop_did_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Gated()

    async def main() -> Admission:
        admission = Admission(running=1, waiting=1)
        first = asyncio.create_task(admission.run(lane(work), 1))
        await begun(work)
        first.cancel()
        return admission

    admission = asyncio.run(main())
    admission.close()
    work.gate.set()
    for thread in admission._threads:
        thread.join()
    assert work.turns == [[1]]
    assert caplog.text == ""
