"""Secrets of a trust service, a server and a sidecar: in no log, no answer, no error, no core file.

Control processes show that the search would find them: what leaves a core leaves its secrets there.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys.session import open_slot
from sealserve.models import inspect
from support.core_files import LET_CORES, kept_in_folders, killed, require_no_core
from support.keys_desk import OCTETS, VAULT_KEY, Desk, Life, new_desk
from support.keys_spellings import private_numbers, spellings
from support.keys_vault import b64url
from support.server_process import SECONDS

ACCESS_TOKEN = "canary-of-a-container"
CANARY = bytes(range(90, 122))
CONTROL = """
import signal, sys
canary = bytes(reversed(bytes.fromhex(sys.argv[1])))
print("ready: with a canary", flush=True)
signal.pause()
"""
UNGUARDED = """
import sys
from sealserve.cli.main import run
from sealserve.native import dumps
dumps.forbid = lambda: None
sys.exit(run(["trustd", "run", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot) -> Desk:
    """Every process of it may leave a core, if it does not forbid that itself."""
    return new_desk(tmp_path_factory.mktemp("canaries"), simulated_root, LET_CORES)


def secrets_of(desk: Desk) -> dict[str, bytes]:
    """What nobody may read anywhere, by name."""
    (slot,) = inspect(desk.folder / "net.sealed").slots
    with open_slot(slot, VAULT_KEY) as key:
        model = bytes(memoryview(key))
    return {
        "access token": ACCESS_TOKEN.encode(),
        "container's key": OCTETS,
        "master key": (desk.vault / "master.key").read_bytes(),
        "model's key": model,
        "owner's token": desk.connection.token.encode(),
        **private_numbers(VAULT_KEY),
    }


@contextmanager
def ready(life: Life) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that is ready, and its line."""
    with life as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("ready: "), line
        yield process, line


# ---- core files


def aborted(process: subprocess.Popen[str], folder: Path) -> list[bytes]:
    """The core files that a process leaves which is told to abort."""
    return killed(process, folder, signal.SIGABRT)


@pytest.fixture(scope="module")
def core_of_a_control(desk: Desk) -> bytes:
    """Of a process that guards nothing, run as the others are."""
    if not kept_in_folders():
        pytest.skip("the kernel gives cores to a program")
    word = bytes(reversed(CANARY)).hex()
    command = (sys.executable, "-I", "-c", CONTROL, word)
    with ready(desk.run("control", command)) as (process, _):
        (core,) = aborted(process, desk.folder)
    return core


def test_a_core_file_holds_what_a_process_knew(core_of_a_control: bytes) -> None:
    assert CANARY in core_of_a_control


@pytest.mark.usefixtures("core_of_a_control")
def test_a_trust_service_without_its_guard_leaves_its_master_key(desk: Desk) -> None:
    with ready(desk.trustd((sys.executable, "-I", "-c", UNGUARDED))) as (process, _):
        (core,) = aborted(process, desk.folder)
    assert (desk.vault / "master.key").read_bytes() in core


# ---- the three


@dataclass(frozen=True)
class Running:
    """The three at work. lines: what each said when it was ready."""

    desk: Desk
    processes: Mapping[str, subprocess.Popen[str]]
    lines: Sequence[str]


@pytest.fixture(scope="module")
def running(desk: Desk) -> Iterator[Running]:
    """All three, each with keys: the server has its model's, the sidecar gave one away."""
    with (
        ready(desk.trustd()) as (trustd, first),
        ready(desk.server()) as (server, second),
        ready(desk.sidecar()) as (sidecar, third),
    ):
        assert b64url(OCTETS) in desk.ask_sidecar().json["key"]
        processes = {"sidecar": sidecar, "server": server, "trustd": trustd}
        yield Running(desk, processes, (first, second, third))


def test_no_secret_is_ever_said(running: Running) -> None:
    """Not where things go well, and not where they go wrong in any of the three."""
    desk = running.desk
    refused = [
        desk.ask_sidecar(kid="octets/" + "0" * 32, access_token=ACCESS_TOKEN),
        desk.ask_sidecar(kid="hidden", access_token=ACCESS_TOKEN),
        desk.ask_sidecar(access_token=f"{ACCESS_TOKEN}\n"),
    ]
    assert {said.status for said in refused} == {400, 403}
    changed = refusal_of_a_changed_model(desk)
    logs = [desk.log(name).read_text() for name in ("trustd", "server", "sidecar")]
    everything = "\n".join([*running.lines, *map(repr, refused), changed, *logs]).encode()
    for told in (b'"released"', b'"refused"', b"is not the one in the hash tree"):
        assert told in everything
    found = {
        name
        for name, secret in secrets_of(desk).items()
        if any(spelling in everything for spelling in spellings(secret))
    }
    assert found == set()


def refusal_of_a_changed_model(desk: Desk) -> str:
    """What a server says that got the key and finds the model altered."""
    sealed = desk.folder / "net.sealed"
    whole = sealed.read_bytes()
    sealed.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    try:
        with desk.server() as process:
            assert process.wait(SECONDS) == 4
            assert process.stdout
            return process.stdout.read()
    finally:
        sealed.write_bytes(whole)


@pytest.mark.parametrize("name", ["sidecar", "server", "trustd"])
def test_who_holds_keys_leaves_no_core(name: str, running: Running) -> None:
    """The last test here."""
    require_no_core(running.processes[name].pid)
    assert aborted(running.processes[name], running.desk.folder) == []
