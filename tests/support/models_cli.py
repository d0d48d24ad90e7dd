"""The verbs of a sealed file, run as a person or a program would."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest

from sealserve.cli.main import run
from sealserve.keys import HpkeIdentity, new_identity
from support.models_onnx import classifier

# What programs may rely on in the JSON of every verb here.
FACTS = {
    "path",
    "name",
    "version",
    "created",
    "root",
    "hash_offset",
    "payload_offset",
    "payload_size",
    "key_id",
    "batch_independent",
    "header_sha256",
    "slots",
}


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        value: dict[str, Any] = json.loads(self.out)
        return value


class Desk:
    """A folder with a model, the keys of two people and a raw key, and a way to run verbs in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.me: HpkeIdentity = new_identity(folder / "me.key")
        self.you: HpkeIdentity = new_identity(folder / "you.key", "X25519")
        (folder / "raw.key").write_bytes(bytes(range(32)))
        onnx.save(classifier(), folder / "net.onnx")

    def run(self, *arguments: str) -> Ran:
        """Run a verb in this folder."""
        here = Path.cwd()
        os.chdir(self.folder)
        try:
            status = run(list(arguments))
        finally:
            os.chdir(here)
        return Ran(status, *self._capsys.readouterr())

    def seal(self, *options: str, out: str = "net.sealed") -> Ran:
        """Seal the model for me."""
        key = ("--key", "hpke:me.key.pub")
        names = ("--name", "net", "--version", "1.0")
        return self.run("seal", "net.onnx", "-o", out, *key, *names, *options)

    @property
    def files(self) -> set[str]:
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")}

    def at_a_terminal(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and what a person sees on stderr."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-P", "-m", "sealserve", *arguments]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        with subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
        ) as child:
            os.close(theirs)
            seen = _read_all(ours)
        return child.returncode, seen


def _read_all(fd: int) -> str:
    seen = b""
    try:
        while block := os.read(fd, 4096):
            seen += block
    except OSError:  # Linux says so when the last one closed the other side
        pass
    os.close(fd)
    return seen.decode()


def help_of(desk: Desk, verb: str) -> str:
    """Its help on one line, so that a test need not know where it was broken."""
    ran = desk.run(verb, "--help")
    assert ran.status == 0
    assert ran.err == ""
    return " ".join(ran.out.split())
