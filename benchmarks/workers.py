"""What do two workers bring over one?

The same server with `--workers 1` and `--workers 2`, under the load of serving.py on
many connections. A model of a few numbers fills one event loop with HTTP/2, so a second one should
bring nearly as much again; the others fill both cores with one worker already. The weights are in
memory once: a second worker costs what Python and its own runs need.

How much a second core brings is the machine's affair as well: beside the servers, in the same
rounds, processes that share nothing compute alone and together. What those reach, without the part
of the cores that the load itself takes, is the most that workers could: one worker is counted as if
the load did not slow it down, so a little more than all of it is possible.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.asked import Question, saved_questions
from support.attested import SHARES_RUNS, Attested, owned, served
from support.group import Memory, group, why_none
from support.h2load import Call, Target, require
from support.options import MIB, options
from support.report import Report, begin
from support.spinners import spinning
from support.turns import Way, ratio

QUESTION = "What do two workers bring over one?"
WORKERS = (1, 2)
AT_LEAST_TIMES = {"tabular": 1.5}
CONNECTIONS, IN_FLIGHT = 32, 64
REQUESTS = {"tabular": 6400, "mlp": 800, "conv": 400}
QUICK_REQUESTS = 256


def under_load(
    report: Report, question: Question, targets: Mapping[int, Target], spins: Sequence[Way]
) -> None:
    name = question.model.name
    requests = QUICK_REQUESTS if report.options.quick else REQUESTS[name]
    with tempfile.TemporaryDirectory() as folder:
        ways = [
            _way(workers, target, question.call(target, Path(folder)), requests)
            for workers, target in targets.items()
        ]
        one, two = ways
        speeds = report.compare(f"{name}, {IN_FLIGHT} in flight", [two], [one, *spins])
        load = _share_of(two)
    brought = ratio(speeds[two.name], speeds[one.name]).value
    alone, together = (speeds[spin.name] for spin in spins)
    report.ratio(f"{name}, meanwhile what shares nothing", together, alone)
    most = ratio(together, alone).value * (1 - load)
    report.say(
        f"  the load took {load:.0%} of both cores beside two workers, so {most:.2f} is the most"
        f" that they could bring here; {brought / most:.0%} of it was brought"
    )
    report.limit.append(
        {"what": f"{name}, the most of two workers", "times": most, "reached_times": brought}
    )
    report.ratio(
        f"{name}, two workers against one",
        speeds[two.name],
        speeds[one.name],
        at_least=AT_LEAST_TIMES.get(name),
    )


def _way(workers: int, target: Target, call: Call, requests: int) -> Way:
    def run() -> None:
        target.load(call, requests, IN_FLIGHT, connections=CONNECTIONS)

    return Way(f"--workers {workers}", requests, run, in_flight=IN_FLIGHT)


def _share_of(way: Way) -> float:
    """What h2load takes of the processors during one turn: no worker can have that."""
    began, spent = time.perf_counter(), _spent()
    way.run()
    return (_spent() - spent) / (time.perf_counter() - began) / len(os.sched_getaffinity(0))


def _spent() -> float:
    """Processor seconds of programs that this process ran to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def serving(
    folder: Path, roots: Mapping[str, str], workers: int
) -> Iterator[tuple[Attested, Memory | None]]:
    """One server, and what it holds once it is ready; no memory where there are no groups."""
    server = served(folder, roots, "--workers", str(workers))
    with ExitStack() as stack:
        if why_none():
            yield stack.enter_context(server.serving()), None
            return
        counted = stack.enter_context(group(f"workers-{workers}"))
        started = stack.enter_context(server.serving(counted.prefix()))
        yield started, counted.memory()


def main() -> None:
    require()
    report = begin("workers", QUESTION, options(QUESTION, repeats=9))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "sealed").mkdir()
        questions, saved = saved_questions(folder / "models")
        roots = owned(folder / "sealed", saved, SHARES_RUNS).roots
        targets: dict[int, Target] = {}
        for workers in WORKERS:
            started, held = stack.enter_context(serving(folder / "sealed", roots, workers))
            targets[workers] = Target(started.port, tls=True)
            if held is not None:
                report.say(
                    f"  --workers {workers}: {held.own / MIB:.0f} MiB of memory of their own"
                )
        spins = stack.enter_context(spinning(max(WORKERS)))
        for question in questions:
            under_load(report, question, targets, spins)
    report.finish()


main()
