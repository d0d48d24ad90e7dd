"""What a benchmark prints: tables for people, one JSON object for charts and for the next run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from support.machine import Neighbours, Ports, machine
from support.native import clock
from support.options import GIB, KIB, MIB, Options
from support.turns import Missing, Ratio, Speed, Way, ratio, share, take_turns

from sealserve.native.crypto import kernels

# Rates are GB/s, 10^9 bytes: of the median round, the slowest and the fastest, and the best burst.
_HEADING = f"  {'GB/s':<42}{'over':>9}{'median':>8}{'low':>8}{'high':>8}{'best':>8}{'ours/it':>8}"
# Where one run is one event and no bytes: microseconds, of the median round and so on as above.
_EVENTS = f"  {'us':<51}{'median':>8}{'low':>8}{'high':>8}{'best':>8}{'ours/it':>8}"
# Where a run is many requests, some of them in flight at the same time: how many a second.
_REQUESTS = f"  {'requests/s':<51}{'median':>8}{'low':>8}{'high':>8}{'best':>8}{'ours/it':>8}"


@dataclass
class Report:
    """Gathers what one script measured; prints each table as soon as it is known."""

    name: str
    options: Options
    ours: list[dict[str, Any]] = field(default_factory=list)
    peers: list[dict[str, Any]] = field(default_factory=list)
    limit: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[dict[str, Any]] = field(default_factory=list)
    neighbours: Neighbours = field(default_factory=Neighbours)

    def compare(
        self, question: str, ours: Sequence[Way], others: Sequence[Way | Missing]
    ) -> dict[str, Speed]:
        """One table, its ways in turns. Ratios in it are those of the first way."""
        options = self.options
        ways = [*ours, *(way for way in others if isinstance(way, Way))]
        speeds = take_turns(ways, options.repeats, turn_seconds=options.turn_seconds, clock=clock)
        first = speeds[ours[0].name]
        self.say(f"\n{question}")
        self.say(_heading(ours[0]))
        for speed in speeds.values():
            self.say(_line(speed, first))
        names = {way.name for way in ours}
        for name, speed in speeds.items():
            (self.ours if name in names else self.peers).append(_record(question, speed))
        for way in others:
            if isinstance(way, Missing):
                self._missing(question, way)
        return speeds

    def _missing(self, question: str, peer: Missing) -> None:
        self.say(f"  {peer.name:<42} {peer.why}")
        self.peers.append({"question": question, "name": peer.name, "missing": peer.why})

    def ratio(
        self, what: str, ours: Speed, peer: Speed | None, *, at_least: float | None = None
    ) -> None:
        """How many times as fast as the peer. None: it is missing, as its table says."""
        if peer is None:
            self.ratios.append({"what": what, "missing": "no peer"})
            return
        in_flight = peer.way.in_flight
        about = f"{in_flight} in flight" if in_flight else _size(peer.way.size)
        against = f"{peer.way.name}, {about}"
        self._judge(what, ratio(ours, peer), at_least=at_least, against=against)

    def at_most(self, what: str, ours: Speed, floor: Speed, goal: float | None = None) -> None:
        """How many times as long as its floor takes. Without a goal that is told and not judged."""
        times = ratio(floor, ours)
        self._judge(what, times, at_most=goal, against=floor.way.name)

    def port_limit(
        self, what: str, ours: Speed, ports: Ports, *, at_least: float | None = None
    ) -> None:
        """Beside what the ports allow at the clock that was measured, if we know these ports."""
        unknown = ports.unknown()
        if unknown:
            self.no_limit(what, unknown)
            return
        bytes_per_cycle = ports.bytes_per_cycle
        part = share(ours, bytes_per_cycle)
        self.limit.append(
            {
                "what": what,
                "bytes_per_cycle": bytes_per_cycle,
                "clock_ghz": ours.clock,
                "gb_per_s": bytes_per_cycle * ours.clock,
                "reached_bytes_per_cycle": part.value * bytes_per_cycle,
                "best_bytes_per_cycle": part.best * bytes_per_cycle,
            }
        )
        against = (
            f"{bytes_per_cycle:.2f} B/cycle at {ours.clock:.2f} GHz, of which"
            f" {part.value * bytes_per_cycle:.2f} are reached"
        )
        self._judge(f"{what}, of the port limit", part, at_least=at_least, against=against)

    def no_limit(self, what: str, why: str) -> None:
        self.limit.append({"what": what, "missing": why})
        self.say(f"  {what}: {why}")

    def measured_limit(self, what: str, speed: Speed) -> None:
        """A way that does nothing but what cannot be left out."""
        self.limit.append({"what": what, "gb_per_s": speed.rate})

    def amount(self, what: str, value: float, unit: str, *, at_most: float) -> None:
        """Something that is no speed."""
        reached = value <= at_most
        self.ratios.append(
            {"what": what, "value": value, "unit": unit, "at_most": at_most, "reached": reached}
        )
        self.say(f"  {what}: {value:.1f} {unit}, {_verdict(reached)}: at most {at_most:g} {unit}")

    def load(
        self, question: str, threads: int, each: Sequence[float], seconds: float, peer: str = ""
    ) -> float:
        """Events that many threads waited for at once: how long each, how many a second in all.

        each: seconds of every event; the slowest in a hundred is told beside the median, and
        returned. peer: whose they are, if not ours.
        """
        events, late = sorted(each), each[0] if len(each) < 2 else quantiles(each, n=100)[98]
        self.say(f"\n{question}: {len(events)} events")
        self.say(
            f"  {len(events) / seconds:.1f} a second; each {median(events) * 1e3:.0f} ms,"
            f" 99 % within {late * 1e3:.0f} ms"
        )
        (self.peers if peer else self.ours).append(
            {
                "question": question,
                "name": peer or "under load",
                "threads": threads,
                "us": median(events) * 1e6,
                "best_us": events[0] * 1e6,
                "spread_us": [events[0] * 1e6, events[-1] * 1e6],
                "p99_us": late * 1e6,
                "per_second": len(events) / seconds,
                "clock_ghz": clock().ghz,
            }
        )
        return late

    def say(self, line: str) -> None:
        print(line, file=sys.stderr if self.options.json else sys.stdout, flush=True)

    def finish(self) -> None:
        """Say how quiet it was; print the object, if that was wanted."""
        seen = self.neighbours.seen()
        self.say(
            f"\n{seen['load_average']:.1f} processes wanted to run before this one;"
            f" {seen['stolen']:.1%} of the processors' time was stolen during it"
        )
        if self.options.json:
            print(json.dumps(self.object(), indent=1))

    def object(self) -> dict[str, Any]:
        return {
            "benchmark": self.name,
            "machine": machine(),
            "disturbance": self.neighbours.seen(),
            "kernels": kernels(),
            "size": self.options.size,
            "repeats": self.options.repeats,
            "quick": self.options.quick,
            "ours": self.ours,
            "peers": self.peers,
            "limit": self.limit,
            "ratios": self.ratios,
        }

    def _judge(
        self,
        what: str,
        seen: Ratio,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        against: str,
    ) -> None:
        low, high = seen.spread
        record: dict[str, Any] = {
            "what": what,
            "value": seen.value,
            "best": seen.best,
            "spread": [low, high],
            "against": against,
        }
        goal = ""
        if at_least is not None:
            record |= {"at_least": at_least, "reached": seen.value >= at_least}
            goal = f"; {_verdict(record['reached'])}: at least {at_least:.2f}"
        if at_most is not None:
            record |= {"at_most": at_most, "reached": seen.value <= at_most}
            goal = f"; {_verdict(record['reached'])}: at most {at_most:.2f}"
        self.ratios.append(record)
        self.say(
            f"  {what}: {seen.value:.2f} ({low:.2f} to {high:.2f}; best {seen.best:.2f}){goal}"
        )
        self.say(f"    against {against}")


def begin(name: str, question: str, wanted: Options) -> Report:
    report = Report(name, wanted)
    about = machine()
    in_use = ", ".join(f"{family} {names[0]}" for family, names in kernels().items())
    report.say(f"{question}\n  {about['cores']} x {about['processor']}; kernels: {in_use}")
    report.say(f"  {wanted.repeats} rounds of turns; {about['openssl']}; {about['date']}")
    return report


def best(speeds: Iterable[Speed]) -> Speed:
    """The fastest by its median."""
    return max(speeds, key=lambda speed: speed.rate)


def event(name: str, run: Callable[[], object]) -> Way:
    """A way whose run counts once, however many bytes it touches."""
    return Way(name, 1, run)


def _heading(way: Way) -> str:
    if way.in_flight:
        return _REQUESTS
    return _EVENTS if way.size == 1 else _HEADING


def _line(speed: Speed, first: Speed) -> str:
    low, high = speed.spread
    times = ratio(first, speed).value
    if speed.way.in_flight:
        rates = (rate * 1e9 for rate in (speed.rate, low, high, speed.best))
        return f"  {speed.way.name:<51}{''.join(f'{rate:8.0f}' for rate in rates)}{times:8.2f}"
    if speed.way.size == 1:
        least, median, most, best = map(_microseconds, (high, speed.rate, low, speed.best))
        return f"  {speed.way.name:<51}{median:8.0f}{least:8.0f}{most:8.0f}{best:8.0f}{times:8.2f}"
    return (
        f"  {speed.way.name:<42}{_size(speed.way.size):>9}{speed.rate:8.2f}{low:8.2f}{high:8.2f}"
        f"{speed.best:8.2f}{times:8.2f}"
    )


def _microseconds(rate: float) -> float:
    """Of an event, by how many there are in a nanosecond."""
    return 1e-3 / rate


def _record(question: str, speed: Speed) -> dict[str, Any]:
    if speed.way.in_flight:
        return {
            "question": question,
            "name": speed.way.name,
            "in_flight": speed.way.in_flight,
            "per_second": speed.rate * 1e9,
            "best_per_second": speed.best * 1e9,
            "spread_per_second": [rate * 1e9 for rate in speed.spread],
            "clock_ghz": speed.clock,
        }
    if speed.way.size == 1:
        return {
            "question": question,
            "name": speed.way.name,
            "threads": speed.way.threads,
            "us": _microseconds(speed.rate),
            "best_us": _microseconds(speed.best),
            "spread_us": sorted(map(_microseconds, speed.spread)),
            "clock_ghz": speed.clock,
        }
    return {
        "question": question,
        "name": speed.way.name,
        "bytes": speed.way.size,
        "threads": speed.way.threads,
        "gb_per_s": speed.rate,
        "best_gb_per_s": speed.best,
        "spread_gb_per_s": list(speed.spread),
        "bytes_per_cycle": speed.rate / speed.clock,
        "clock_ghz": speed.clock,
    }


def _size(size: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def _verdict(reached: bool) -> str:
    return "reached" if reached else "NOT reached"
