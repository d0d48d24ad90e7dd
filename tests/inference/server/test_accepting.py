"""One listening socket for every worker of every generation: nobody is reset, nobody waits long."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server.config import ServedModel
from sealserve.inference.server.port import HeldPort
from sealserve.inference.wire.address import parse_address
from sealserve.keys import new_identity
from support import client_case as case
from support.at_work import at_work
from support.client_server import MODEL
from support.h2_socket import encrypted
from support.models_onnx import classifier
from support.models_sealed import seal_model
from support.process_tree import children, connections, descendants, has_loaded, listens
from support.server_case import until
from support.server_process import SECONDS
from support.supervisor_process import Supervised, supervised

CONNECTIONS = 20


@dataclass(frozen=True)
class Desk:
    folder: Path
    models: tuple[ServedModel, ...]
    machine: Machine

    @contextmanager
    def serving(self, workers: int) -> Iterator[Supervised]:
        with supervised(self.folder, self.models, self.machine, workers=workers) as server:
            yield server


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot) -> Desk:
    folder = tmp_path_factory.mktemp("accepting") / "desk"
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    sealed = seal_model(classifier(), folder / "net.sealed", keys=keys, name=MODEL)
    models = (ServedModel("net.sealed", (sealed.root.hex(),)),)
    return Desk(folder, models, case.machine(simulated_root))


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def server(desk: Desk, request: pytest.FixtureRequest) -> Iterator[Supervised]:
    with desk.serving(request.param) as server:
        yield server


@pytest.fixture
def pair(desk: Desk) -> Iterator[Supervised]:
    with desk.serving(2) as server:
        yield server


def workers_of(server: Supervised) -> tuple[int, int]:
    found = re.search(r"; workers ([0-9]+), ([0-9]+)$", server.ready.strip())
    assert found
    return int(found[1]), int(found[2])


def address_of(server: Supervised) -> tuple[str, int]:
    host, port = parse_address(server.target, default_port=0)
    return host, port


def told(server: Supervised, event: str) -> int:
    return [each["event"] for each in server.events].count(event)


def greeted(server: Supervised) -> socket.socket:
    """A connection whose handshake is done and on which the server has spoken HTTP/2."""
    connected = encrypted(address_of(server), SECONDS)
    try:
        assert connected.recv(1)
    except BaseException:
        connected.close()
        raise
    return connected


@dataclass
class Knocking:
    """Connections that are opened one after the other, until the block ends."""

    greeted: int = 0
    failed: list[Exception] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def go_on(self, server: Supervised) -> None:
        while not self.over.is_set():
            try:
                greeted(server).close()
                self.greeted += 1
            except Exception as error:  # the test says that there is none
                self.failed.append(error)

    def goes_on(self, times: int = 20) -> None:
        before = self.greeted
        until(lambda: self.greeted >= before + times or bool(self.failed))


@contextmanager
def knocking(server: Supervised, callers: int = 3) -> Iterator[Knocking]:
    """So many callers open and close connections."""
    result = Knocking()
    with at_work(result.over, [partial(result.go_on, server)] * callers):
        result.goes_on()
        yield result


def test_no_connection_is_reset_by_a_reload(server: Supervised) -> None:
    with knocking(server) as callers:
        for number in range(1, 5):
            server.process.send_signal(signal.SIGHUP)
            until(lambda number=number: told(server, "reloaded") == number)
            callers.goes_on()
    assert callers.failed == []


def test_a_connection_that_comes_while_nobody_serves_is_answered_once_somebody_does(
    desk: Desk,
) -> None:
    with desk.serving(1) as server:
        (generation,) = (
            pid for pid in children(server.process.pid) if has_loaded(pid, "onnxruntime")
        )
        os.kill(generation, signal.SIGKILL)
        for _ in range(3):
            greeted(server).close()
        assert told(server, "generation_ended") == 1


def test_connections_are_spread_evenly(pair: Supervised) -> None:
    _, port = address_of(pair)
    workers = workers_of(pair)

    def held() -> list[int]:
        return [connections(pid, port) for pid in workers]

    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(greeted(pair))
        assert sum(held()) == CONNECTIONS
        assert max(held()) - min(held()) <= 1


def test_whoever_has_fewer_gets_the_next(pair: Supervised) -> None:
    """A worker that was killed comes back with none, and makes up for it."""
    _, port = address_of(pair)
    first, second = workers_of(pair)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(greeted(pair))
        os.kill(first, signal.SIGKILL)
        until(lambda: told(pair, "worker_replaced") == 1)
        before = connections(second, port)
        for _ in range(before):
            stack.enter_context(greeted(pair))
        assert connections(second, port) <= before + 1


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("victim", [0, 1])
def test_nobody_waits_for_a_worker_that_does_nothing(
    pair: Supervised, number: int, victim: int
) -> None:
    """It has fewest connections, so it would be its turn."""
    worker = workers_of(pair)[victim]
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(greeted(pair))
        os.kill(worker, number)
        for _ in range(CONNECTIONS):
            stack.enter_context(greeted(pair))


def test_a_worker_that_was_waited_for_in_vain_makes_up_for_it_later(pair: Supervised) -> None:
    _, port = address_of(pair)
    stopped, other = workers_of(pair)
    with ExitStack() as stack:
        os.kill(stopped, signal.SIGSTOP)
        for _ in range(CONNECTIONS):
            stack.enter_context(greeted(pair))
        assert connections(other, port) == CONNECTIONS
        os.kill(stopped, signal.SIGCONT)
        for _ in range(CONNECTIONS):
            stack.enter_context(greeted(pair))
        assert connections(stopped, port) > CONNECTIONS // 2


def test_nobody_but_those_who_serve_holds_the_listener(pair: Supervised) -> None:
    _, port = address_of(pair)
    workers = workers_of(pair)
    everybody = [pair.process.pid, *descendants(pair.process.pid)]
    holding = {pid for pid in everybody if listens(pid, port)}
    (generation,) = {pid for pid in children(pair.process.pid) if has_loaded(pid, "onnxruntime")}
    assert holding == {pair.process.pid, generation, *workers}


def test_told_to_stop_it_refuses_connections_even_if_its_workers_do_nothing(
    pair: Supervised,
) -> None:
    for worker in workers_of(pair):
        os.kill(worker, signal.SIGSTOP)
    pair.process.send_signal(signal.SIGTERM)
    until(partial(told, pair, "draining"))
    until(lambda: refused(pair))
    for worker in workers_of(pair):
        os.kill(worker, signal.SIGCONT)
    assert pair.process.wait(SECONDS) == 0
    HeldPort(*address_of(pair)).close()


def refused(server: Supervised) -> bool:
    try:
        socket.create_connection(address_of(server), SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False
