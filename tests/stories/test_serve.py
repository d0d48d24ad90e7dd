"""The main story, told with real processes: seal, allow, serve, check, predict, stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sealserve.inference.wire.address import parse_address
from support.server_process import SEALSERVE, Server, clean_environment, started, verb

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "breast_cancer"
MODEL = EXAMPLE / "model.onnx"
PATIENTS = EXAMPLE / "patients.npy"
NAME = "breast-cancer"
SAMPLE_BYTES = 64


@dataclass(frozen=True)
class Story:
    """Everything that was made on the way to a server that is ready."""

    folder: Path
    server: Server
    command: tuple[str, ...]
    root: str
    policy: str

    def run(self, *arguments: str) -> str:
        """What a verb prints; it has to succeed."""
        return run(self.folder, *arguments)

    def verb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A verb that may fail."""
        return verb(self.folder, *arguments)


def run(folder: Path, *arguments: str) -> str:
    ran = verb(folder, *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, simulated_root_dir: Path) -> Iterator[Story]:
    """From a key pair to a server that is ready, each step as a person would type it."""
    folder = tmp_path_factory.mktemp("story") / "desk"
    folder.mkdir()
    run(folder, "key", "new", "owner.key")
    sealing = ("seal", str(MODEL), "-o", "model.sealed", "--key", "hpke:owner.key.pub")
    sealed = json.loads(run(folder, *sealing, "--name", NAME, "--version", "1", "--json"))
    root: str = sealed["root"]
    assert json.loads(run(folder, "inspect", "model.sealed", "--json"))["root"] == root
    serve = (*SEALSERVE, "serve", str(folder / "model.sealed"), "--root", root,
             "--identity", str(folder / "owner.key"), "--listen", "127.0.0.1:0")  # fmt: skip
    generate = ("policy", "generate", "--process", "--json", "-o", "policy.rego", "--", *serve)
    policy: str = json.loads(run(folder, *generate))["sha256"]
    tee = ("tee", "run", "--policy", "policy.rego", "--root-dir", str(simulated_root_dir), "--")
    command = (*SEALSERVE, *tee, *serve)
    with started(command, folder, folder.with_name("server.err"), env=clean_environment()) as ready:
        trust_file(folder, simulated_root_dir, root)
        yield Story(folder, ready, command, root, policy)


def trust_file(folder: Path, simulated_root_dir: Path, root: str) -> None:
    """trust.toml of a client who expects exactly this."""
    machine = json.loads(
        run(folder, "tee", "info", "--root-dir", str(simulated_root_dir), "--json")
    )
    hardware = (
        "--platform",
        "simulated",
        "--simulated-root-sha256",
        machine["simulated_root_sha256"],
    )
    software = ("--measurement", machine["measurement"], "--policy", "policy.rego")
    model = ("--model", f"{NAME}={root}", "--name", "the story")
    run(folder, "trust", "new", "-o", "trust.toml", *hardware, *software, *model)


def plain_answers() -> dict[str, np.ndarray[Any, Any]]:
    """What ONNX Runtime answers on the model that was never sealed, with the server's options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": np.load(PATIENTS)}), strict=True))


def processes_about(folder: Path) -> set[int]:
    """Every process whose command line names this folder."""
    needle = os.fsencode(folder)
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and needle in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except OSError:  # it has ended
            continue
    return found


def test_the_ready_line_names_the_model_and_its_root(story: Story) -> None:
    assert f"model {NAME} version 1 root {story.root}; on 127.0.0.1:" in story.server.ready
    assert "platform simulated" in story.server.ready


def test_a_check_names_what_was_compared(story: Story) -> None:
    text = story.run("check", story.server.target, "--trust", "trust.toml")
    assert text.startswith('acceptable to "the story"')
    assert f"execution policy {story.policy[:16]}… is listed" in text
    assert f"serves  {NAME} {story.root}" in text
    assert "proves nothing about hardware" in text


def test_a_check_for_programs_has_the_policy_that_was_generated(story: Story) -> None:
    told = json.loads(story.run("check", story.server.target, "--trust", "trust.toml", "--json"))
    assert told["policy_sha256"] == story.policy
    assert told["models"] == {NAME: [story.root]}
    assert told["platform"] == "simulated"


def test_a_prediction_is_bit_by_bit_what_the_plain_model_answers(story: Story) -> None:
    predict = ("predict", story.server.target, NAME, "--trust", "trust.toml")
    story.run(*predict, "--input", f"x=@{PATIENTS}", "-o", "answers.npz")
    wanted = plain_answers()
    with np.load(story.folder / "answers.npz") as answers:
        assert set(answers.files) == set(wanted) == {"label", "probabilities"}
        for name, array in wanted.items():
            assert (answers[name].dtype, answers[name].shape) == (array.dtype, array.shape)
            assert answers[name].tobytes() == array.tobytes()


def test_a_client_that_expects_another_root_sends_nothing(story: Story) -> None:
    text = (story.folder / "trust.toml").read_text()
    (story.folder / "other.toml").write_text(text.replace(story.root, "11" * 32))
    predict = ("predict", story.server.target, NAME, "--trust", "other.toml")
    ran = story.verb(*predict, "--input", f"x=@{PATIENTS}")
    assert (ran.returncode, ran.stdout) == (6, "")
    assert "11" * 32 in ran.stderr
    assert "Traceback" not in ran.stderr


def test_another_command_line_does_not_even_start(story: Story, simulated_root_dir: Path) -> None:
    tee = ("tee", "run", "--policy", "policy.rego", "--root-dir", str(simulated_root_dir), "--")
    serve = (*SEALSERVE, "serve", str(story.folder / "model.sealed"), "--root", story.root)
    ran = story.verb(*tee, *serve, "--identity", str(story.folder / "other.key"))
    assert (ran.returncode, ran.stdout) == (6, "")
    assert "hint: " in ran.stderr


def test_nothing_that_was_written_holds_the_weights_in_clear(story: Story) -> None:
    plain = MODEL.read_bytes()
    sample = plain[len(plain) // 2 :][:SAMPLE_BYTES]
    files = [path for path in story.folder.parent.rglob("*") if path.is_file()]
    assert story.folder / "model.sealed" in files
    assert [path for path in files if sample in path.read_bytes()] == []


def test_told_to_stop_it_ends_with_success_and_leaves_nothing_running(story: Story) -> None:
    """A second server from the same files, so that no other test depends on this one."""
    before = processes_about(story.folder)
    log = story.folder.with_name("second.err")
    with started(story.command, story.folder, log, env=clean_environment()) as server:
        host, port = parse_address(server.target, default_port=0)
        assert len(processes_about(story.folder) - before) == 3  # platform, supervisor, worker
        assert server.stop(signal.SIGTERM) == (0, "")
    assert processes_about(story.folder) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port))
    assert [event["event"] for event in server.events][-2:] == ["draining", "stopped"]
