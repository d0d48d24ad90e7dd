"""Ways to do the same work, in turns, in one run: the ratio counts, not the number.

In every round each way has one turn, and a ratio is of two turns of one round, which neighbours on
the machine slow down alike. A turn is many short bursts: the median burst is its rate, and the
best burst of all is what the machine does when nobody disturbs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

Clock = Callable[[], float]  # what the core runs at now, in GHz
UNDISTURBED = 0.015  # from a turn's clock: further off, somebody else had the core for a while


@dataclass(frozen=True)
class Way:
    """`run` goes over `size` bytes, on as many `threads` as it says."""

    name: str
    size: int
    run: Callable[[], object]
    threads: int = 1


@dataclass(frozen=True)
class Missing:
    """A way that cannot be gone here, and what to do about it."""

    name: str
    why: str


@dataclass(frozen=True)
class Turn:
    """Rates in bytes a nanosecond, which is GB/s; the clock in cycles a nanosecond."""

    rate: float
    best: float
    clock: float


@dataclass(frozen=True)
class Speed:
    """All turns of one way."""

    way: Way
    turns: tuple[Turn, ...]

    @property
    def rate(self) -> float:
        return median(turn.rate for turn in self.turns)

    @property
    def best(self) -> float:
        return max(turn.best for turn in self.turns)

    @property
    def spread(self) -> tuple[float, float]:
        rates = [turn.rate for turn in self.turns]
        return min(rates), max(rates)

    @property
    def clock(self) -> float:
        return median(turn.clock for turn in self.turns)


@dataclass(frozen=True)
class Ratio:
    """Of two ways, round by round. best: of their best bursts, whichever rounds those were in."""

    value: float
    best: float
    spread: tuple[float, float]


def take_turns(
    ways: Sequence[Way], repeats: int, *, turn_seconds: float, clock: Clock
) -> dict[str, Speed]:
    """By name, in the order given. Before the first round each way runs once, uncounted."""
    for way in ways:
        way.run()
    rounds = [[_turn(way, turn_seconds, clock) for way in ways] for _ in range(repeats)]
    columns = zip(*rounds, strict=True)
    return {way.name: Speed(way, turns) for way, turns in zip(ways, columns, strict=True)}


def ratio(ours: Speed, peer: Speed) -> Ratio:
    """How many times as fast as the peer."""
    values = [a.rate / b.rate for a, b in zip(ours.turns, peer.turns, strict=True)]
    return Ratio(median(values), ours.best / peer.best, (min(values), max(values)))


def share(ours: Speed, bytes_per_cycle: float) -> Ratio:
    """What part of a limit is reached.

    A reading that was disturbed is too low, and would flatter us: see `clock_of`.
    """
    values = [turn.rate / (turn.clock * bytes_per_cycle) for turn in ours.turns]
    bests = [turn.best / (turn.clock * bytes_per_cycle) for turn in ours.turns]
    return Ratio(median(values), max(bests), (min(values), max(values)))


def _turn(way: Way, turn_seconds: float, clock: Clock) -> Turn:
    readings = [clock()]
    rates: list[float] = []
    until = time.perf_counter() + turn_seconds
    while not rates or time.perf_counter() < until:
        rates.append(_burst(way))
        readings.append(clock())
    return Turn(median(undisturbed(rates, readings)), max(rates), clock_of(readings))


def clock_of(readings: Sequence[float]) -> float:
    """What the core runs at during a turn: nearly the highest reading.

    Not the highest: before the first burst the clock is that of other work, and processors lower it
    while wide registers are in use.
    """
    return sorted(readings)[ceil(0.9 * (len(readings) - 1))]


def undisturbed(rates: Sequence[float], readings: Sequence[float]) -> Sequence[float]:
    """The bursts with the turn's clock before and after; all of them if there is none.

    readings: one more than rates. The clock knows nothing of what a burst does, so leaving others
    out favours nobody.
    """
    clock = clock_of(readings)
    pairs = zip(rates, readings, readings[1:], strict=False)
    return [
        rate
        for rate, *beside in pairs
        if all(abs(reading / clock - 1) <= UNDISTURBED for reading in beside)
    ] or rates


def _burst(way: Way) -> float:
    started = time.perf_counter_ns()
    way.run()
    return way.size / (time.perf_counter_ns() - started)
