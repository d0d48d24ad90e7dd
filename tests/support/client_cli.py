"""The verbs of a client, run as a person or a program would, in a folder of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.cli.main import run
from support import client_case as case
from support.client_case import Change
from support.models_cli import Ran


class Clinic:
    """A folder with a trust file that fits a good simulated machine, and a way to run verbs."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], root: SimulatedRoot
    ) -> None:
        self.folder = folder
        self.root = root
        self._capsys = capsys
        self.trust()

    def trust(self, *changes: Change, more: str = "") -> None:
        """Write the trust file again, with each (old, new) replaced and `more` at its end."""
        text = case.trust_bytes(self.root, *changes) + more.encode()
        (self.folder / "trust.toml").write_bytes(text)

    def run(self, *arguments: str) -> Ran:
        """Run a verb in this folder; whatever happens, nobody sees a traceback."""
        here = Path.cwd()
        os.chdir(self.folder)
        try:
            status = run(list(arguments))
        finally:
            os.chdir(here)
        ran = Ran(status, *self._capsys.readouterr())
        assert "Traceback" not in ran.out + ran.err
        assert "unforeseen" not in ran.err
        return ran

    def check(self, target: str, *options: str) -> Ran:
        """`sealserve check` with this trust file."""
        return self.run("check", target, "--trust", "trust.toml", *options)

    def predict(self, target: str, *options: str) -> Ran:
        """`sealserve predict` with this trust file, the good model and these options."""
        return self.run("predict", target, "breast-cancer", "--trust", "trust.toml", *options)

    def help(self, *verb: str) -> str:
        """Its help on one line, so that a test need not know where it was broken."""
        ran = self.run(*verb, "--help")
        assert (ran.status, ran.err) == (0, "")
        return " ".join(ran.out.split())

    @property
    def files(self) -> set[str]:
        """What lies here, hidden files included."""
        return {path.name for path in self.folder.iterdir()}
