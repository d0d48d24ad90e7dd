"""Several workers: one port, one identity, weights once; and one that dies takes nobody along."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.client import connect
from sealserve.inference.server.config import Limits, ServedModel
from sealserve.inference.wire.address import parse_address
from sealserve.keys import new_identity
from sealserve.models import SealedModel
from sealserve.policy import Trust
from support import client_case as case
from support.client_server import MODEL
from support.models_onnx import batch, classifier, predict
from support.models_sealed import seal_model
from support.process_tree import connections, descendants, has_loaded, is_alive, parent, threads
from support.server_case import until
from support.server_load import load
from support.server_process import certificate_of
from support.supervisor_process import Supervised, supervised

WORKERS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers") / "desk"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def sealed(folder: Path) -> SealedModel:
    keys = [new_identity(folder / "owner.key").recipient]
    return seal_model(classifier(), folder / "net.sealed", keys=keys, name=MODEL)


@pytest.fixture(scope="module")
def machine(simulated_root: SimulatedRoot) -> Machine:
    return case.machine(simulated_root)


@pytest.fixture(scope="module")
def trust(simulated_root: SimulatedRoot, sealed: SealedModel) -> Trust:
    return case.trust(simulated_root, (case.ROOT.hex(), sealed.root.hex()))


@pytest.fixture
def models(sealed: SealedModel) -> tuple[ServedModel, ...]:
    return (ServedModel("net.sealed", (sealed.root.hex(),)),)


@pytest.fixture
def server(folder: Path, models: tuple[ServedModel, ...], machine: Machine) -> Iterator[Supervised]:
    with supervised(folder, models, machine, workers=WORKERS) as server:
        yield server


def workers_of(server: Supervised) -> list[int]:
    """Those the ready line lists."""
    found = re.search(r"; workers ([0-9, ]+)$", server.ready.strip())
    assert found, server.ready
    return [int(pid) for pid in found[1].split(", ")]


def test_each_process_is_what_it_should_be_and_has_no_more_than_it_needs(
    server: Supervised,
) -> None:
    workers = workers_of(server)
    (generation,) = {parent(pid) for pid in workers}
    supervisor = parent(generation)
    assert len(workers) == WORKERS
    assert supervisor == server.process.pid
    loaded = {
        pid: (has_loaded(pid, "onnxruntime"), has_loaded(pid, "cygrpc"))
        for pid in (supervisor, generation, *workers)
    }
    assert loaded == {
        supervisor: (False, False),
        generation: (True, False),
        **dict.fromkeys(workers, (True, True)),
    }
    assert threads(supervisor) == threads(generation) == 1
    for pid in (supervisor, generation, *workers):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)


def test_evidence_is_looked_for_once_and_workers_inherit_what_was_found(
    folder: Path, server: Supervised, trust: Trust
) -> None:
    """On hardware it may have to be fetched, from a service that answers now and then."""
    found = {int(line) for line in (folder / "found").read_text().split()}
    workers = workers_of(server)
    assert parent(workers[0]) in found
    assert not found & set(workers)
    with connect(server.target, trust) as client:  # and it is of use to them
        assert client.models()


def test_all_of_them_answer_with_one_identity(server: Supervised, trust: Trust) -> None:
    """Whoever a connection comes to: the certificate is the same, and the report names it."""
    assert len({certificate_of(server.target) for _ in range(20)}) == 1
    (plain,) = predict(classifier().SerializeToString(), batch())
    for _ in range(6):
        with connect(server.target, trust) as client:
            assert client.predict(MODEL, batch())["y"].tobytes() == plain.tobytes()


def test_a_worker_that_is_killed_takes_no_other_call_along_and_comes_back(
    server: Supervised, trust: Trust
) -> None:
    first, second = workers_of(server)
    generation = parent(first)
    _, port = parse_address(server.target, default_port=0)
    with load(server.target, trust, MODEL) as asking:
        for number, victim in enumerate((first, second), 1):
            asking.interrupted.clear()
            its_own = connections(victim, port)
            os.kill(victim, signal.SIGKILL)
            until(partial(told, server, "worker_replaced", number))
            asking.goes_on()
            assert len(set(asking.interrupted)) <= its_own
    assert asking.failed == []
    (plain,) = predict(classifier().SerializeToString(), batch())
    assert set(asking.answers) == {plain.tobytes()}
    ended = [event for event in server.events if event["event"] == "worker_ended"]
    assert sorted((event["worker"], event["status"]) for event in ended) == [(0, -9), (1, -9)]
    assert parent(generation) == server.process.pid  # it was never loaded anew


def told(server: Supervised, event: str, times: int = 1) -> bool:
    """Whether its log says so, so often."""
    return [each["event"] for each in server.events].count(event) == times


def test_told_to_stop_all_of_it_ends_with_success(server: Supervised) -> None:
    everybody = descendants(server.process.pid)
    assert server.stop(signal.SIGTERM)[0] == 0
    assert not [pid for pid in everybody if is_alive(pid)]
    assert [event["event"] for event in server.events][-2:] == ["draining", "stopped"]


def test_nobody_lives_longer_than_the_supervisor(server: Supervised) -> None:
    everybody = [parent(workers_of(server)[0]), *workers_of(server)]
    os.kill(server.process.pid, signal.SIGKILL)
    until(lambda: not [pid for pid in everybody if is_alive(pid)])


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_certificates_rotate_by_themselves_and_for_all_workers(
    workers: int, folder: Path, models: tuple[ServedModel, ...], machine: Machine
) -> None:
    often = Limits(rotation_hours=0.1 / 3600)
    with supervised(folder, models, machine, workers=workers, limits=often) as server:
        first = certificate_of(server.target)
        # A new one at each of many connections, so whoever they come to.
        until(lambda: first not in {certificate_of(server.target) for _ in range(8)})
        assert "certificates_rotated" in [event["event"] for event in server.events]
        assert server.stop()[0] == 0
