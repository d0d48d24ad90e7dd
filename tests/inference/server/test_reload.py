"""Models are replaced while a server runs: all of them or none, and only by what is allowed."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.client import connect
from sealserve.inference.server.config import ServedModel
from sealserve.keys import new_identity
from sealserve.models import SealedModel
from sealserve.policy import Trust
from support import client_case as case
from support.client_server import MODEL
from support.models_onnx import batch, classifier, predict, small
from support.models_sealed import seal_model
from support.server_case import until
from support.server_load import load
from support.server_process import certificate_of
from support.supervisor_process import Supervised, supervised


@dataclass(frozen=True)
class Desk:
    """net.sealed is what the server opens; these are what can be put there, and a second model."""

    folder: Path
    first: SealedModel
    second: SealedModel
    stranger: SealedModel
    other: SealedModel
    machine: Machine
    trust: Trust

    def put(self, version: SealedModel) -> None:
        """As an operator replaces a file: in one step."""
        shutil.copy(version.path, self.folder / "net.new")
        (self.folder / "net.new").replace(self.folder / "net.sealed")

    def models(self) -> tuple[ServedModel, ...]:
        both = (self.first.root.hex(), self.second.root.hex())
        return ServedModel("net.sealed", both), ServedModel("other", (self.other.root.hex(),))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot) -> Desk:
    folder = tmp_path_factory.mktemp("reload") / "desk"
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    new_identity(folder / "strange.key")
    first, second, stranger = (
        seal_model(classifier(seed), folder / f"{seed}", keys=keys, name=MODEL, version=f"{seed}")
        for seed in (1, 2, 3)
    )
    other = seal_model(small(), folder / "other", keys=keys, name="other")
    roots = '", "'.join(each.root.hex() for each in (first, second))
    trust = case.trust(simulated_root, (case.ROOT.hex(), roots))
    return Desk(folder, first, second, stranger, other, case.machine(simulated_root), trust)


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def server(desk: Desk, request: pytest.FixtureRequest) -> Iterator[Supervised]:
    desk.put(desk.first)
    with supervised(desk.folder, desk.models(), desk.machine, workers=request.param) as server:
        yield server


def answers(seed: int) -> bytes:
    """What the plain model of this seed answers."""
    (plain,) = predict(classifier(seed).SerializeToString(), batch())
    return plain.tobytes()


def events(server: Supervised, name: str) -> list[dict]:
    return [event for event in server.events if event["event"] == name]


def reload(server: Supervised) -> None:
    """Send SIGHUP, and wait until it was done or refused."""
    before = len(events(server, "reloaded") + events(server, "reload_refused"))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(events(server, "reloaded") + events(server, "reload_refused")) > before)


def asked(server: Supervised, desk: Desk) -> bytes:
    """The answer to a new client."""
    with connect(server.target, desk.trust) as client:
        return client.predict(MODEL, batch())["y"].tobytes()


def test_a_reload_of_the_same_files_under_load_is_noticed_by_nobody(
    server: Supervised, desk: Desk
) -> None:
    with load(server.target, desk.trust, MODEL) as asking:
        for _ in range(2):
            reload(server)
            asking.goes_on()
    assert asking.failed == []
    assert set(asking.answers) == {answers(1)}
    assert len(events(server, "reloaded")) == 2


def test_a_file_is_replaced_and_put_back_under_load_and_no_call_fails(
    server: Supervised, desk: Desk
) -> None:
    """A client that verified one root verifies again, by itself, before the other one answers."""
    shown = certificate_of(server.target)
    assert asked(server, desk) == answers(1)
    with load(server.target, desk.trust, MODEL) as asking:
        for version, seed in ((desk.second, 2), (desk.first, 1)):
            desk.put(version)
            reload(server)
            assert asked(server, desk) == answers(seed)
            asking.goes_on()
    assert asking.failed == []
    assert set(asking.answers) == {answers(1), answers(2)}
    assert len(events(server, "reloaded")) == 2
    assert certificate_of(server.target) == shown
    assert server.stop()[0] == 0


REFUSED = {
    "an altered file": (
        lambda desk: (desk.folder / "net.sealed").write_bytes(altered(desk.second)),
        "IntegrityError",
    ),
    "a root that is not allowed": (lambda desk: desk.put(desk.stranger), "IntegrityError"),
    "another format": (
        lambda desk: (desk.folder / "net.sealed").write_text("hello"),
        "FormatError",
    ),
    "no file": (lambda desk: (desk.folder / "net.sealed").unlink(), "ConfigError"),
    "no key": (
        lambda desk: shutil.copy(desk.folder / "strange.key", desk.folder / "owner.key"),
        "ReleaseError",
    ),
}


def altered(sealed: SealedModel) -> bytes:
    data = bytearray(Path(sealed.path).read_bytes())
    data[-30_000] ^= 1
    return bytes(data)


def test_what_may_not_be_served_changes_nothing(desk: Desk) -> None:
    """One server for all of it: nothing stays of a reload that was refused."""
    desk.put(desk.first)
    key = (desk.folder / "owner.key").read_bytes()
    with (
        supervised(desk.folder, desk.models(), desk.machine) as server,
        load(server.target, desk.trust, MODEL) as asking,
    ):
        for change, _ in REFUSED.values():
            desk.put(desk.first)
            change(desk)
            reload(server)
            (desk.folder / "owner.key").write_bytes(key)
            asking.goes_on()
        assert (asking.failed, asking.interrupted) == ([], [])
        assert set(asking.answers) == {answers(1)}
        told = [event["error"] for event in events(server, "reload_refused")]
        assert told == [error for _, error in REFUSED.values()]
        assert events(server, "reloaded") == []
        desk.put(desk.second)
        reload(server)
        assert asked(server, desk) == answers(2)


def test_commands_say_what_is_served(server: Supervised, desk: Desk) -> None:
    assert server.command("models") == {"done": [MODEL, "other"]}
    assert server.command("unload", "other") == {"done": []}
    assert server.command("models") == {"done": [MODEL]}
    assert server.command("unload", "other") == {"done": []}  # as it was
    assert server.command("unload", MODEL) == {"refused": "last_model"}
    assert server.command("load", "nobody") == {"refused": "unknown_model"}
    desk.put(desk.second)
    assert server.command("load", "other") == {"done": []}
    assert server.command("models") == {"done": [MODEL, "other"]}
    assert asked(server, desk) == answers(2)
    desk.put(desk.stranger)
    assert server.command("reload") == {"refused": "not_opened"}
    assert server.command("models") == {"done": [MODEL, "other"]}
    assert asked(server, desk) == answers(2)


def test_one_reload_at_a_time_and_none_while_it_stops(desk: Desk) -> None:
    desk.put(desk.first)
    with supervised(desk.folder, desk.models(), desk.machine) as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(events(server, "hardened")) == 2)  # it has begun
        assert server.command("reload") == {"refused": "busy"}
        server.process.send_signal(signal.SIGHUP)  # means the files as they are after that
        until(lambda: len(events(server, "reloaded")) == 2)
        assert server.stop()[0] == 0


def test_told_to_stop_while_it_reloads_it_ends_with_success(desk: Desk) -> None:
    desk.put(desk.first)
    with supervised(desk.folder, desk.models(), desk.machine) as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(events(server, "hardened")) == 2)
        assert server.stop()[0] == 0
        assert events(server, "reload_refused") == []
