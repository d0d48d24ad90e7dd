"""Ways to do the same work, in turns, in one run: the ratio counts, not the number.

In every round each way has one turn, and a ratio is of two turns of one round, which neighbours on
the machine slow down alike. A turn is many short bursts: the median burst is its rate, and the
best burst of all is what the machine does when nobody disturbs it. Rounds in which nobody was left
undisturbed count only if there is no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

UNDISTURBED = 0.015  # between two readings: further apart, somebody had the core for a while
LOWEST = 0.9  # of a turn's highest clock: processors lower it by less for wide registers


@dataclass(frozen=True)
class Reading:
    """alone: whether nobody used the core's other hardware thread, which shares the ports."""

    ghz: float
    alone: bool = True


Clock = Callable[[], Reading]


@dataclass(frozen=True)
class Way:
    """`run` goes over `size` bytes, on as many `threads` as it says.

    in_flight: where it is not bytes but requests that `run` makes `size` of, so many at a time.
    tells_seconds: not all of `run` counts; it returns how many seconds do.
    passes: how many runs make a burst.
    """

    name: str
    size: int
    run: Callable[[], object]
    threads: int = 1
    in_flight: int = 0
    tells_seconds: bool = False
    passes: int = 1

    def in_bursts_of(self, size: int) -> Way:
        """For ways of several sizes in one table: the first microseconds after a reading of the
        clock are often slower, and have to be the same part of everybody's burst.
        """
        return replace(self, passes=max(1, size // self.size))


@dataclass(frozen=True)
class Missing:
    """A way that cannot be gone here, and what to do about it."""

    name: str
    why: str


@dataclass(frozen=True)
class Turn:
    """Rates in bytes a nanosecond, which is GB/s; the clock in cycles a nanosecond.

    quiet: whether `rate` is of undisturbed bursts.
    """

    rate: float
    best: float
    clock: float
    quiet: bool = True


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
    rounds = [*zip(ours.turns, peer.turns, strict=True)]
    quiet = [one for one in rounds if all(turn.quiet for turn in one)]
    values = [a.rate / b.rate for a, b in quiet or rounds]
    return Ratio(median(values), ours.best / peer.best, (min(values), max(values)))


def share(ours: Speed, bytes_per_cycle: float) -> Ratio:
    """What part of a limit is reached, at the clock that each turn ran at."""
    turns = [turn for turn in ours.turns if turn.quiet] or ours.turns
    values = [turn.rate / (turn.clock * bytes_per_cycle) for turn in turns]
    bests = [turn.best / (turn.clock * bytes_per_cycle) for turn in turns]
    return Ratio(median(values), max(bests), (min(values), max(values)))


def _turn(way: Way, turn_seconds: float, clock: Clock) -> Turn:
    readings = [clock()]
    rates: list[float] = []
    until = time.perf_counter() + turn_seconds
    while not rates or time.perf_counter() < until:
        rates.append(_burst(way))
        readings.append(clock())
    kept = undisturbed(rates, readings)
    rate, ghz = (median(column) for column in zip(*(kept or _all(rates, readings)), strict=True))
    return Turn(rate, max(rates), ghz, bool(kept))


def undisturbed(
    rates: Sequence[float], readings: Sequence[Reading]
) -> Sequence[tuple[float, float]]:
    """The bursts with one clock before and after, and the core alone; each with that clock.

    readings: one more than rates. They know nothing of what a burst does, so leaving others out
    favours nobody.
    """
    lowest = LOWEST * max(one.ghz for one in readings)
    pairs = zip(rates, readings, readings[1:], strict=False)
    return [
        (rate, max(before.ghz, after.ghz))
        for rate, before, after in pairs
        if before.alone and after.alone
        if abs(before.ghz / after.ghz - 1) <= UNDISTURBED
        if min(before.ghz, after.ghz) >= lowest
    ]


def _all(rates: Sequence[float], readings: Sequence[Reading]) -> Sequence[tuple[float, float]]:
    """Each with the turn's highest clock: a reading that was disturbed is too low, and flatters."""
    highest = max(one.ghz for one in readings)
    return [(rate, highest) for rate in rates]


def _burst(way: Way) -> float:
    started = time.perf_counter_ns()
    for _ in range(way.passes):
        told = way.run()
    taken = time.perf_counter_ns() - started
    if way.tells_seconds:
        assert isinstance(told, float)
        assert way.passes == 1
        taken = round(told * 1e9)
    return way.passes * way.size / taken
