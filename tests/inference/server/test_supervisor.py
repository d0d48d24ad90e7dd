"""The first process: what it does when the others die, fall silent or cannot begin again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.client import connect
from sealserve.inference.server.config import Limits, ServedModel
from sealserve.inference.server.restarts import LONGEST_PAUSE_SECONDS, Restarts
from sealserve.keys import new_identity
from sealserve.models import SealedModel
from support import client_case as case
from support.client_server import MODEL
from support.models_onnx import batch, classifier
from support.models_sealed import seal_model
from support.process_tree import children, has_loaded
from support.server_case import until
from support.server_process import SECONDS, certificate_of
from support.supervisor_process import Supervised, supervised


class Moody:
    """A machine that can fall silent."""

    platform = "simulated"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.silent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def report(self, *arguments: Any) -> Any:
        if self.silent:
            raise OSError  # which leaves whoever asked without an answer
        return self._machine.report(*arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "desk"
    folder.mkdir()
    return folder


@pytest.fixture
def sealed(folder: Path) -> SealedModel:
    keys = [new_identity(folder / "owner.key").recipient]
    return seal_model(classifier(), folder / "net.sealed", keys=keys, name=MODEL)


@pytest.fixture
def models(sealed: SealedModel) -> tuple[ServedModel, ...]:
    return (ServedModel("net.sealed", (sealed.root.hex(),)),)


@pytest.fixture
def server(
    folder: Path, models: tuple[ServedModel, ...], simulated_root: SimulatedRoot
) -> Iterator[Supervised]:
    with supervised(folder, models, case.machine(simulated_root)) as server:
        yield server


def generation_of(server: Supervised) -> int:
    """The process that opened the models."""
    (found,) = (pid for pid in children(server.process.pid) if has_loaded(pid, "onnxruntime"))
    return found


def seen(server: Supervised, name: str) -> int:
    return [event["event"] for event in server.events].count(name)


def test_a_generation_that_is_killed_is_loaded_anew_and_shows_the_same_certificate(
    server: Supervised, sealed: SealedModel, simulated_root: SimulatedRoot
) -> None:
    shown = certificate_of(server.target)
    trust = case.trust(simulated_root, (case.ROOT.hex(), sealed.root.hex()))
    with connect(server.target, trust) as client:
        before = client.predict(MODEL, batch())["y"]
        os.kill(generation_of(server), signal.SIGKILL)
        until(lambda: seen(server, "reloaded") == 1)
        assert client.predict(MODEL, batch())["y"].tobytes() == before.tobytes()
    assert certificate_of(server.target) == shown
    assert seen(server, "generation_ended") == 1
    assert server.stop()[0] == 0


def test_what_cannot_be_loaded_anew_ends_the_server_and_says_why(
    server: Supervised, folder: Path
) -> None:
    (folder / "net.sealed").unlink()
    os.kill(generation_of(server), signal.SIGKILL)
    assert server.process.wait(SECONDS) == 8
    assert "net.sealed, FILE: cannot be read" in server.err
    assert seen(server, "reload_refused") > 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_success_when_told_to(server: Supervised, number: int) -> None:
    assert server.stop(number)[0] == 0


# ---- pauses


def test_each_pause_is_twice_the_one_before_until_there_have_been_too_many() -> None:
    restarts = Restarts(3, 60.0)
    assert [restarts.died(now) for now in (0.0, 1.0, 2.0, 3.0)] == [0.1, 0.2, 0.4, None]


def test_deaths_of_long_ago_are_forgotten() -> None:
    restarts = Restarts(1, 60.0)
    assert [restarts.died(now) for now in (0.0, 60.0, 120.0)] == [0.1, 0.1, 0.1]


def test_no_pause_is_longer_than_the_longest() -> None:
    restarts = Restarts(100, 60.0)
    assert max(restarts.died(0.0) or 0 for _ in range(100)) == LONGEST_PAUSE_SECONDS


# ---- certificates


def test_a_rotation_that_fails_is_tried_again(
    folder: Path, models: tuple[ServedModel, ...], simulated_root: SimulatedRoot
) -> None:
    machine = Moody(case.machine(simulated_root))
    often = Limits(rotation_hours=0.1 / 3600)
    with supervised(folder, models, machine, limits=often) as server:
        machine.silent = True
        until(lambda: seen(server, "rotation_failed") > 0)
        machine.silent = False
        shown = certificate_of(server.target)
        until(lambda: certificate_of(server.target) != shown)
        failed = next(e for e in server.events if e["event"] == "rotation_failed")
        assert failed["error"] == "UnavailableError"
