"""Where results go: a place that does not take them is told as such, and is no bug of ours."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.cli import files
from support.client_cli import Clinic
from support.client_server import LiveServer
from support.models_cli import Desk
from support.unlocked import limited

GENERATE = ("policy", "generate", "--process", "--", "/bin/true")
NO_ROOM = "sealserve: cannot write the result: No space left on device\n"


@pytest.fixture
def full() -> Iterator[IO[str]]:
    with Path("/dev/full").open("w") as device:
        yield device


def ran(
    *arguments: str,
    folder: Path | None = None,
    stdout: IO[str] | int = subprocess.PIPE,
    stderr: IO[str] | int = subprocess.PIPE,
    encoding: str = "utf-8",
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "sealserve", *arguments],
        cwd=folder,
        env={"PYTHONIOENCODING": encoding},
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


RESULTS = {
    "text": GENERATE,
    "JSON": (*GENERATE, "--json"),
    "a verb's help": ("check", "--help"),
    "a group's help": ("policy", "--help"),
    "all help": ("--help",),
    "the version": ("--version",),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_full_disk(full: IO[str], name: str) -> None:
    done = ran(*RESULTS[name], stdout=full)
    assert (done.returncode, done.stderr) == (10, NO_ROOM)


def test_a_full_disk_for_what_a_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], full: IO[str]
) -> None:
    desk = Desk(tmp_path, capsys)
    assert desk.seal().status == 0
    done = ran("inspect", "net.sealed", "--json", folder=tmp_path, stdout=full)
    assert (done.returncode, done.stderr) == (10, NO_ROOM)


def test_a_full_disk_for_answers(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    simulated_root: SimulatedRoot,
    server: LiveServer,
    full: IO[str],
) -> None:
    clinic = Clinic(tmp_path, capsys, simulated_root)
    words = ("breast-cancer", "--trust", "trust.toml", "--input", "x=[[1,2,3]]")
    done = ran("predict", server.target, *words, folder=clinic.folder, stdout=full)
    assert done.returncode == 10
    assert done.stderr.endswith(NO_ROOM)


def test_characters_that_the_output_does_not_have() -> None:
    done = ran("policy", "generate", "--help", encoding="latin-1")
    assert (done.returncode, done.stdout) == (10, "")
    assert done.stderr.startswith("sealserve: cannot write the result: it has a character")
    assert "hint: " in done.stderr


def test_a_reader_that_went_away() -> None:
    """As `head` does: it has what it wanted."""
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        assert reader.stdin is not None
        done = ran(*GENERATE, stdout=reader.stdin.fileno())
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_pipe_of_another_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a reader of the result may go away without a word; a socket's end is not that."""

    def hung_up(*_: object) -> bytes:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(files, "read", hung_up)
    ran = Desk(tmp_path, capsys).run("policy", "hash", "policy.rego")
    assert (ran.status, ran.out) == (70, "")
    assert "unforeseen BrokenPipeError" in ran.err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(GENERATE, 0), (("policy", "hash", "nowhere"), 8), (("policy", "hash"), 2)],
)
def test_words_that_nobody_can_read(full: IO[str], arguments: tuple[str, ...], status: int) -> None:
    """The exit code is what happened, with or without them."""
    assert ran(*arguments, stderr=full).returncode == status


def test_memory_that_is_not_locked_is_told_once_in_our_manner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, name = ("--key", "raw:raw.key"), ("--name", "n", "--version", "1")
    ran = subprocess.run(
        limited(0, "-P", "-m", "sealserve", "seal", "net.onnx", "-o", "out", *key, *name),
        cwd=Desk(tmp_path, capsys).folder,
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line for line in ran.stderr.splitlines() if "swapped" in line]
    assert len(told) == 1
    assert told[0].startswith("warning: keys and opened models may be swapped to a disk: ")
    assert "Warning:" not in ran.stderr
