"""What becomes of calls that come twice as fast as they can be answered?

Each has a deadline. Ours should go on answering about as many as at its best, and let nobody wait
beyond the deadline: whoever cannot be answered in time is told so at once. The bare server of
serving.py gets twice its own peak, for comparison: it takes everything that comes.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from support.asked import Question, certificate
from support.attested import SHARES_RUNS, attested
from support.h2load import Call, Target, require
from support.models import models
from support.options import options
from support.peers import bare
from support.report import Report, begin

from sealserve.inference.client import connect

QUESTION = "What becomes of calls that come twice as fast as they can be answered?"
DEADLINE_MS = 500
LATE_MS = 50  # what a caller's own side may add, which shares the machine
TIMES_PEAK = 2
SECONDS, QUICK_SECONDS = 2.0, 0.3
PEAK_REQUESTS, QUICK_REQUESTS = 800, 64
IN_FLIGHT = (16, 64)  # the peak is the better one
SHORT_PERCENT = 10  # of the peak


@dataclass
class Loaded:
    """One server, round by round. each: seconds of every call under overload."""

    name: str
    target: Target
    call: Call
    each: list[float] = field(default_factory=list)
    seconds: float = 0.0
    short: list[float] = field(default_factory=list)

    def turn(self, *, quick: bool) -> None:
        peak = max(self._rate(PEAK_REQUESTS if not quick else QUICK_REQUESTS, n) for n in IN_FLIGHT)
        seconds = QUICK_SECONDS if quick else SECONDS
        offered = self.target.offer(self.call, TIMES_PEAK * peak, seconds, DEADLINE_MS)
        self.each += offered.each
        self.seconds += offered.seconds
        self.short.append(100 * (1 - offered.answered / offered.seconds / peak))

    def _rate(self, requests: int, in_flight: int) -> float:
        began = time.perf_counter()
        self.target.load(self.call, requests, in_flight)
        return requests / (time.perf_counter() - began)


def compare(report: Report, ours: Loaded, floor: Loaded) -> None:
    for _ in range(report.options.repeats):
        for one in (ours, floor):
            one.turn(quick=report.options.quick)
    question = f"Offered {TIMES_PEAK} times the peak, {DEADLINE_MS} ms each"
    late = report.load(question, 1, ours.each, ours.seconds)
    report.load(f"{question}, {floor.name}", 1, floor.each, floor.seconds, peer=floor.name)
    report.amount("99 % of calls end within", late * 1e3, "ms", at_most=DEADLINE_MS + LATE_MS)
    what = "goodput short of the peak"
    report.amount(what, median(ours.short), "%", at_most=SHORT_PERCENT)
    low, high = min(ours.short), max(ours.short)
    report.say(f"    from {low:.1f} to {high:.1f} %; {floor.name}: {median(floor.short):.1f} %")


def main() -> None:
    require()
    report = begin("overload", QUESTION, options(QUESTION, repeats=9))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "models").mkdir()
        (folder / "sealed").mkdir()
        question = Question.of(next(model for model in models() if model.name == "mlp"))
        saved = question.model.save(folder / "models")
        server = stack.enter_context(attested(folder / "sealed", {"mlp": saved}, SHARES_RUNS))
        connect(f"{server.host}:{server.port}", server.trust).close()
        target = Target(server.port, tls=True)
        floor = stack.enter_context(bare(folder / "models", *certificate(folder)))
        ours = Loaded("sealserve", target, question.call(target, folder))
        compare(report, ours, Loaded("bare, TLS", floor, question.call(floor, folder)))
    report.finish()


main()
