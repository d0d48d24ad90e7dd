"""A program written for tritonclient changes one line, and prints the same.

As it stands it runs with NVIDIA's library and talks to the proxy; with the line changed it runs
with ours and talks to the server.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys import new_identity
from support import client_case as case
from support.client_server import MODEL
from support.models_sealed import seal_model
from support.ready_process import SECONDS, ReadyProcess, started
from support.server_process import SEALSERVE, Server, clean_environment, serving

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-tritonclient" / "bin" / "python"
PROGRAM = ROOT / "tests" / "support" / "triton_program.py"
PLAIN = ROOT / "examples" / "breast_cancer" / "model.onnx"
PATIENTS = PLAIN.with_name("patients.npy")
LINE = "import tritonclient.grpc as grpcclient  # type: ignore[import-not-found]\n"
INSTEAD = 'from sealserve import tritonclient; grpcclient = tritonclient.trusting("{trust}")\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    desk = tmp_path / "desk"
    desk.mkdir()
    return desk


@pytest.fixture
def server(folder: Path, simulated_root: SimulatedRoot) -> Iterator[Server]:
    keys = [new_identity(folder / "owner.key").recipient]
    root = seal_model(PLAIN, folder / "net.sealed", keys=keys, name=MODEL).root.hex()
    trust = case.trust_bytes(simulated_root, (case.ROOT.hex(), root))
    (folder / "trust.toml").write_bytes(trust)
    arguments = ("net.sealed", "--root", root, "--identity", "owner.key")
    machine = case.machine(simulated_root)
    with serving(folder, (*arguments, "--listen", "127.0.0.1:0"), machine) as ready:
        yield ready


def run(folder: Path, *command: str | Path) -> list[str]:
    ran = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.splitlines()


def test_one_line_changes_and_nothing_else(folder: Path, server: Server) -> None:
    assert PYTHON.exists(), "`make build/stamps/peer` sets up tritonclient"
    text = PROGRAM.read_text()
    assert text.count(LINE) == 1
    changed = folder / "program.py"
    changed.write_text(text.replace(LINE, INSTEAD.format(trust=folder / "trust.toml")))
    command = [*SEALSERVE, "proxy", server.target, "--trust", "trust.toml"]
    command += ["--listen", "127.0.0.1:0"]
    log = folder.with_name("proxy.err")
    with started(ReadyProcess, command, folder, log, env=clean_environment()) as proxy:
        place = proxy.ready.split()[3]
        theirs = run(folder, PYTHON, "-I", PROGRAM, place, MODEL, PATIENTS)
        assert proxy.stop()[0] == 0
    ours = run(folder, sys.executable, "-I", changed, server.target, MODEL, PATIENTS)
    assert ours == theirs
    assert len(theirs) > 25
