"""Hours of mixed load with reloads: nothing is lost, nothing is wrong, and memory stays flat.

    SEALSERVE_SOAK_SECONDS=60 pytest -m long tests/stories/test_soak.py

Takes an hour unless it is told otherwise. Two models, one whose rows share runs and one that runs
each request by itself, two workers, clients with requests of many sizes, and one file that changes
places with the same model sealed anew. Every answer is compared with plain ONNX Runtime's.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import Client, connect
from sealserve.inference.server.config import ServedModel
from sealserve.keys import new_identity
from sealserve.models import SealedModel
from sealserve.native.errors import PolicyViolation, UnavailableError
from sealserve.policy import Trust
from support import client_case as case
from support.at_work import at_work
from support.models_onnx import batch, classifier, predict, small
from support.models_sealed import seal_model
from support.process_tree import descendants
from support.server_case import until
from support.server_load import TRIES
from support.supervisor_process import Supervised, supervised

SECONDS = float(os.environ.get("SEALSERVE_SOAK_SECONDS", "3600"))
CLIENTS = 4
RELOADS_APART = max(SECONDS / 60, 5.0)  # seconds
SAMPLES_APART = SECONDS / 400
SHARED, ALONE = "shared", "alone"  # the models
WIDTHS = {SHARED: 512, ALONE: 8}
ROWS = (1, 1, 1, 2, 7, 64)
# A generation that takes over stands beside the old one; what is compared is the rest of the time.
PLATEAUS = ((0.2, 0.5), (0.7, 1.0))  # early and late, as parts of the time
SLACK = 1.05
SLACK_BYTES = 16 * 2**20  # arenas of malloc, one for each thread that ever was busy


@dataclass
class Soak:
    """What came of it. lost: calls that were given up, or answered wrongly."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, number: int, target: str, trust: Trust, right: Right) -> None:
        chosen = random.Random(number)
        try:
            with connect(target, trust) as client:
                while not self.over.is_set():
                    self._ask(client, chosen.choice((SHARED, ALONE)), chosen.choice(ROWS), right)
        except Exception as error:  # the test says that there is none
            self._told(f"{type(error).__name__}: {error}")

    def _ask(self, client: Client, model: str, rows: int, right: Right) -> None:
        for _ in range(TRIES):
            try:
                found = client.predict(model, batch(rows, WIDTHS[model]))["y"]
            except UnavailableError:  # a worker that is going: the same again
                continue
            except PolicyViolation:  # the other seal of the same model
                client.recheck()
                continue
            self._told(
                "" if right.is_answer(model, rows, found) else f"{model}, {rows} rows: wrong"
            )
            return
        self._told(f"no answer {TRIES} times in a row")

    def _told(self, lost: str) -> None:
        with self._lock:
            self.answered += 1
            if lost:
                self.lost.append(lost)


class Right:
    """What plain ONNX Runtime says to every request that is asked."""

    def __init__(self) -> None:
        graphs = {SHARED: classifier(), ALONE: small()}
        self._answers = {
            (model, rows): predict(graph.SerializeToString(), batch(rows, WIDTHS[model]))[0]
            for model, graph in graphs.items()
            for rows in ROWS
        }

    def is_answer(self, model: str, rows: int, found: np.ndarray) -> bool:
        """Bit by bit where nothing shares a run; else within 1e-5 of the largest value."""
        plain = self._answers[model, rows]
        if model == ALONE:
            return bool(np.array_equal(found, plain))
        return bool(np.allclose(found, plain, rtol=1e-5, atol=1e-5 * float(np.abs(plain).max())))


def memory_of(pid: int) -> int:
    """Bytes of the process and all below it: anonymous and shared, each page once."""
    return sum(map(_own, [pid, *descendants(pid)]))


def _own(pid: int) -> int:
    wanted = ("Anonymous:", "Pss_Shmem:")
    with suppress(OSError):  # it ended meanwhile
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        found = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith(wanted)}
        return 1024 * sum(found.values())
    return 0


@contextmanager
def under_load(soak: Soak, target: str, trust: Trust) -> Iterator[None]:
    right = Right()
    jobs = [partial(soak.run, number, target, trust, right) for number in range(CLIENTS)]
    with at_work(soak.over, jobs):
        yield


def watched(server: Supervised, change: Iterator[None]) -> list[int]:
    """Bytes of memory, sample by sample; meanwhile the file changes now and then."""
    samples: list[int] = []
    ends = time.monotonic() + SECONDS
    changes = time.monotonic() + RELOADS_APART
    while time.monotonic() < ends:
        samples.append(memory_of(server.process.pid))
        if time.monotonic() > changes:
            next(change)
            changes = time.monotonic() + RELOADS_APART
        time.sleep(SAMPLES_APART)
    return samples


def plateau(samples: list[int], part: tuple[float, float]) -> int:
    """The middle one of a part of the samples: the moments of a reload are few."""
    begin, end = (int(each * len(samples)) for each in part)
    return sorted(samples[begin:end])[(end - begin) // 2]


def reloaded(server: Supervised) -> int:
    return sum(event["event"] == "reloaded" for event in server.events)


def changes(server: Supervised, folder: Path, seals: list[SealedModel]) -> Iterator[None]:
    """Each step puts the other file there and waits until the server took it."""
    while True:
        for sealed in seals:
            shutil.copy(sealed.path, folder / "shared.new")
            (folder / "shared.new").replace(folder / "shared.sealed")
            before = reloaded(server)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: reloaded(server) > before)  # noqa: B023  called before it changes
            yield


@pytest.mark.long
def test_nothing_is_lost_or_wrong_and_memory_stays_flat(
    tmp_path: Path, simulated_root: SimulatedRoot
) -> None:
    folder = tmp_path / "desk"
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    first, second = seals = [
        seal_model(classifier(), folder / each, keys=keys, name=SHARED, batch_independent=True)
        for each in ("first", "second")
    ]
    alone = seal_model(small(), folder / "alone.sealed", keys=keys, name=ALONE)
    roots = (first.root.hex(), second.root.hex())
    models = (
        ServedModel("shared.sealed", roots),
        ServedModel("alone.sealed", (alone.root.hex(),)),
    )
    section = f'[models.{SHARED}]\nroots = ["{roots[0]}", "{roots[1]}"]\n[models.{ALONE}]'
    trust = case.trust(
        simulated_root, ("[models.breast-cancer]", section), (case.ROOT.hex(), alone.root.hex())
    )
    shutil.copy(first.path, folder / "shared.sealed")
    soak = Soak()
    with supervised(folder, models, case.machine(simulated_root), workers=2) as server:
        with under_load(soak, server.target, trust):
            samples = watched(server, changes(server, folder, seals[::-1]))
        assert soak.lost == []
        assert soak.answered > SECONDS
        assert reloaded(server) > 1
        early, late = (plateau(samples, part) for part in PLATEAUS)
        assert late <= SLACK * early + SLACK_BYTES
        assert server.stop()[0] == 0
