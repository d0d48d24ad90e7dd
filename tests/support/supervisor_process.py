"""A supervisor with limits that no file may set, in a process of its own: a test may not fork."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sealserve.attestation.simulated import SOCKET_VARIABLE, Machine
from sealserve.inference.server.config import Limits, ServedModel
from support import ready_process
from support.server_process import Server, answering, clean_environment

# A line on its stdin is a command: a verb and a name. What becomes of it stands on its stdout. Who
# looks for evidence writes its number into the file `found`.
PROGRAM = """
import json, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from sealserve.inference.server.hardening import harden
namespace = harden()
from sealserve.attestation import devices
from sealserve.inference.server import app, commands
from sealserve.inference.server.config import KeySource, Limits, ServedModel, ServerConfig
from sealserve.native.errors import SealserveError

given = json.loads(sys.argv[1])
config = ServerConfig(
    models=tuple(ServedModel(path, tuple(roots)) for path, roots in given["models"]),
    keys=KeySource(identity="owner.key"),
    listen_host="127.0.0.1",
    listen_port=0,
    workers=given["workers"],
    limits=Limits(**given["limits"]),
)
def find():
    with open("found", "a") as found:
        print(os.getpid(), file=found)
    return devices.detect(os.environ)

asking, asked = commands.pair()
if os.fork() == 0:  # the desk: it may have threads and gRPC, so it is another process
    asked.close()
    for line in sys.stdin:
        verb, _, name = line.strip().partition(" ")
        try:
            answer = getattr(asking, verb)(*filter(None, [name]))
            print(json.dumps({"done": [m.name for m in answer or () if m.loaded]}), flush=True)
        except commands.RefusedCommandError as error:
            print(json.dumps({"refused": error.refusal}), flush=True)
        except SealserveError:
            print(json.dumps({"ended": True}), flush=True)
    os._exit(0)
asking.close()
try:
    app.run(
        config,
        namespace,
        find,
        lambda ready: print(ready.line(), flush=True),
        commanded=(asked,),
    )
except SealserveError as error:
    print(f"sealserve: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


class Supervised(Server):
    """One that is ready, and takes commands."""

    def command(self, *words: str) -> dict[str, Any]:
        """What became of a command: `done` with the models that are loaded, or `refused`."""
        self.ask(*words)
        return self.answer()

    def ask(self, *words: str) -> None:
        """Send a command."""
        assert self.process.stdin
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What became of the one that was asked first."""
        answer: dict[str, Any] = json.loads(self._first_line())
        return answer


@contextmanager
def supervised(
    folder: Path,
    models: tuple[ServedModel, ...],
    machine: Machine,
    *,
    workers: int = 1,
    limits: Limits | None = None,
) -> Iterator[Supervised]:
    """It runs in this folder, where owner.key opens the models."""
    given = {
        "models": [(model.path, model.roots) for model in models],
        "workers": workers,
        "limits": dataclasses.asdict(limits or Limits()),
    }
    with answering(machine) as descriptor:
        environment = clean_environment(**{SOCKET_VARIABLE: str(descriptor)})
        with ready_process.started(
            Supervised,
            [sys.executable, "-I", "-c", PROGRAM, json.dumps(given)],
            folder,
            folder.with_name(f"{folder.name}.supervised.err"),
            env=environment,
            pass_fds=(descriptor,),
            stdin=subprocess.PIPE,
        ) as server:
            yield server
