"""Is a call lost when one of three replicas dies under load?

The replicas stand behind HAProxy, which passes TCP on and sees nothing but TLS: one port for each
replica, since a client challenges each on a channel of its own before that one takes part. In the
middle of the load one of them is killed, as `kill -9` does.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from support.asked import Question
from support.attested import Attested, owned
from support.models import INPUT, OUTPUT, models
from support.options import options
from support.report import Report, begin

from sealserve.inference.client import Client, connect
from sealserve.native.errors import SealserveError
from support.ports import free_ports, wait_for

QUESTION = "Is a call lost when one of three replicas dies under load?"
REPLICAS = 3
THREADS = 8
SECONDS, QUICK_SECONDS = 12.0, 3.0
SETTINGS = """\
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
"""


@contextmanager
def haproxy(program: str, folder: Path, servers: Sequence[Attested]) -> Iterator[list[int]]:
    """Its ports, one for each server."""
    ports = free_ports(len(servers))
    parts = [
        f"listen replica{number}\n  bind 127.0.0.1:{port}\n  server only 127.0.0.1:{server.port}\n"
        for number, (port, server) in enumerate(zip(ports, servers, strict=True))
    ]
    settings = folder / "haproxy.cfg"
    settings.write_text(SETTINGS + "".join(parts))
    command = [program, "-db", "-q", "-f", settings]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            for port in ports:
                wait_for(port)
            yield [*ports]
        finally:
            process.terminate()


class Load:
    """Calls from several threads until it is told to stop; each answer is compared."""

    def __init__(self, client: Client, question: Question) -> None:
        self._client = client
        self._inputs = {INPUT: question.model.example()}
        self._question = question
        self._until = 0.0

    def run(self, seconds: float) -> tuple[list[float], int]:
        """Seconds of every call that was answered; how many failed or were wrong."""
        self._until = time.monotonic() + seconds
        with ThreadPoolExecutor(THREADS) as threads:
            parts = [*threads.map(lambda _: self._calls(), range(THREADS))]
        return [each for part, _ in parts for each in part], sum(lost for _, lost in parts)

    def _calls(self) -> tuple[list[float], int]:
        taken, lost = [], 0
        while time.monotonic() < self._until:
            began = time.perf_counter()
            try:
                found = self._client.predict(self._question.model.name, self._inputs)[OUTPUT]
                lost += not np.allclose(found, self._question.right, rtol=1e-4, atol=1e-6)
            except SealserveError:
                lost += 1
            taken.append(time.perf_counter() - began)
        return taken, lost


def measure(report: Report, question: Question, folder: Path) -> None:
    seconds = QUICK_SECONDS if report.options.quick else SECONDS
    made = owned(folder, {question.model.name: question.model.save(folder)})
    with ExitStack() as stack:
        servers = [stack.enter_context(made.serving()) for _ in range(REPLICAS)]
        ports = stack.enter_context(entrances(report, folder, servers))
        targets = [f"127.0.0.1:{port}" for port in ports]
        client = stack.enter_context(connect(targets, made.trust, timeout_seconds=30))
        with ThreadPoolExecutor(1) as beside:
            running = beside.submit(Load(client, question).run, seconds)
            time.sleep(seconds / 3)
            servers[0].kill()
            taken, lost = running.result()
    report.load(f"{REPLICAS} replicas, one killed", THREADS, taken, seconds)
    report.amount("lost or wrong", lost, "calls", at_most=0)


@contextmanager
def entrances(report: Report, folder: Path, servers: Sequence[Attested]) -> Iterator[list[int]]:
    """The ports that lead to the servers."""
    program = shutil.which("haproxy")
    if program is None:
        report.no_limit("through HAProxy", "not installed: apt-get install haproxy")
        yield [server.port for server in servers]
        return
    with haproxy(program, folder, servers) as ports:
        yield ports


def main() -> None:
    report = begin("replicas", QUESTION, options(QUESTION, repeats=1))
    with tempfile.TemporaryDirectory() as folder:
        measure(report, Question.of(models()[0]), Path(folder))
    report.finish()


main()
