"""`sealserve trustd` as the process it is in the field."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.ready_process import ReadyProcess, started
from support.server_process import SEALSERVE, clean_environment, verb


@dataclass(frozen=True)
class Ran:
    """What is left of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


def sealserve(folder: Path, *arguments: str) -> Ran:
    """Run a verb in this folder to its end."""
    ran = verb(folder, *arguments)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


class Running(ReadyProcess):
    """A trust service that says it is ready. ready: its line."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        super().__init__(process, log)
        assert self.ready.startswith("ready: "), f"{self.ready}{self.err}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log so far; nothing else may stand there."""
        return [json.loads(line) for line in self.err.splitlines()]


RUN = (*SEALSERVE, "trustd", "run")


def running(folder: Path, command: Sequence[str] = RUN) -> AbstractContextManager[Running]:
    """`sealserve trustd run FOLDER`; killed at the end if it is still there."""
    log = folder.with_name(f"{folder.name}.err")
    return started(Running, [*command, folder.name], folder.parent, log, env=clean_environment())
