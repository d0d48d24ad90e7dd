"""Turns and ratios, on ways whose time is known: a clock that only they move."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "benchmarks/support/turns.py"


@pytest.fixture
def now() -> SimpleNamespace:
    return SimpleNamespace(ns=0, order=[])


@pytest.fixture
def turns(now: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, under a name of its own: `support` is the tests' own."""
    spec = importlib.util.spec_from_file_location("benchmark_turns", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_turns", module)
    spec.loader.exec_module(module)
    clock = SimpleNamespace(perf_counter=lambda: now.ns / 1e9, perf_counter_ns=lambda: now.ns)
    monkeypatch.setattr(module, "time", clock)
    return module


def taking(now: SimpleNamespace, name: str, *nanoseconds: int) -> Callable[[], None]:
    """Runs that take so long, one after the other, then as long as the last."""
    left = list(nanoseconds)

    def run() -> None:
        now.order.append(name)
        now.ns += left.pop(0) if len(left) > 1 else left[0]

    return run


def test_every_round_gives_each_way_its_turn(turns: ModuleType, now: SimpleNamespace) -> None:
    ways = [turns.Way(name, 10, taking(now, name, 5)) for name in "abc"]
    turns.take_turns(ways, 2, turn_seconds=0, clock=lambda: turns.Reading(1.0))
    assert "".join(now.order) == "abc" + 2 * "abc"  # the first time does not count


def test_a_turn_is_as_many_bursts_as_fit(turns: ModuleType, now: SimpleNamespace) -> None:
    way = turns.Way("a", 10, taking(now, "a", 100))
    turns.take_turns([way], 1, turn_seconds=350e-9, clock=lambda: turns.Reading(1.0))
    assert len(now.order) == 1 + 4


def test_a_short_way_is_gone_as_often_as_makes_a_burst(
    turns: ModuleType, now: SimpleNamespace
) -> None:
    way = turns.Way("a", 10, taking(now, "a", 5)).in_bursts_of(45)
    speed = turns.take_turns([way], 1, turn_seconds=0, clock=lambda: turns.Reading(1.0))["a"]
    assert len(now.order) == 1 + 4
    assert speed.rate == 10 / 5
    assert turns.Way("a", 10, taking(now, "a", 5)).in_bursts_of(9).passes == 1


def test_a_rate_is_the_median_burst_and_the_best_one_is_kept(
    turns: ModuleType, now: SimpleNamespace
) -> None:
    way = turns.Way("a", 100, taking(now, "a", 1, 50, 100, 25))
    speed = turns.take_turns([way], 1, turn_seconds=160e-9, clock=lambda: turns.Reading(1.0))["a"]
    assert (speed.rate, speed.best) == (2.0, 4.0)  # 100 bytes in 50 and in 25 nanoseconds


def speed(turns: ModuleType, *rates: float, clock: float = 2.0) -> object:
    every = tuple(turns.Turn(rate, rate, clock) for rate in rates)
    return turns.Speed(turns.Way("a", 1, lambda: None), every)


def test_a_ratio_is_taken_within_a_round(turns: ModuleType) -> None:
    """A slow round slows both: the ratio of the medians would be another."""
    ratio = turns.ratio(speed(turns, 2, 4, 10), speed(turns, 1, 8, 4))
    assert (ratio.value, ratio.spread, ratio.best) == (2.0, (0.5, 2.5), 1.25)


def test_a_share_is_of_the_limit_at_the_clock_of_the_turn(turns: ModuleType) -> None:
    share = turns.share(speed(turns, 4, clock=2.0), 4.0)
    assert share.value == 0.5


def test_a_disturbed_reading_of_the_clock_never_flatters(
    turns: ModuleType, now: SimpleNamespace
) -> None:
    readings = iter([turns.Reading(1.0), turns.Reading(3.0)])
    way = turns.Way("a", 10, taking(now, "a", 5))
    found = turns.take_turns([way], 1, turn_seconds=0, clock=lambda: next(readings))
    assert found["a"].clock == 3.0


def readings(turns: ModuleType, *ghz: float) -> list[object]:
    return [turns.Reading(one) for one in ghz]


def test_a_burst_between_two_clocks_does_not_count(turns: ModuleType) -> None:
    """Whether it was quick or slow: it is the clock that says that it was disturbed."""
    assert turns.undisturbed([5, 9, 7], readings(turns, 2.0, 2.0, 1.0, 2.0)) == [(5, 2.0)]
    assert turns.undisturbed([5, 9], readings(turns, 2.0, 1.0, 2.0)) == []
    assert turns.undisturbed([5, 9], readings(turns, 2.0, 1.99, 2.0)) == [(5, 2.0), (9, 2.0)]


def test_a_clock_that_is_much_too_low_twice_is_no_clock(turns: ModuleType) -> None:
    assert turns.undisturbed([5, 9], readings(turns, 1.5, 1.5, 3.0)) == []


def test_the_clock_is_the_one_while_wide_registers_are_in_use(turns: ModuleType) -> None:
    assert turns.undisturbed([5, 9], readings(turns, 3.0, 2.8, 2.8)) == [(9, 2.8)]


def test_a_burst_beside_somebody_elses_work_does_not_count(turns: ModuleType) -> None:
    shared = turns.Reading(2.0, alone=False)
    beside = [*readings(turns, 2.0, 2.0), shared, *readings(turns, 2.0)]
    assert turns.undisturbed([5, 9, 7], beside) == [(5, 2.0)]


def test_a_round_in_which_nobody_was_alone_counts_only_without_another(turns: ModuleType) -> None:
    def of(*quiet: bool) -> object:
        every = tuple(turns.Turn(2.0 if one else 1.0, 2.0, 2.0, one) for one in quiet)
        return turns.Speed(turns.Way("a", 1, lambda: None), every)

    steady = speed(turns, 1, 1, 1)
    assert turns.ratio(of(False, True, False), steady).value == 2.0
    assert turns.ratio(of(False, False, False), steady).value == 1.0
    assert turns.share(of(False, True, False), 1.0).spread == (1.0, 1.0)
