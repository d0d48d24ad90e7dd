"""A server of ours on the simulated platform, set up by the commands that people type."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.started import running

from sealserve.policy import Trust

EXAMPLE = {"m": Path(__file__).resolve().parents[2] / "examples/breast_cancer/model.onnx"}
SEALSERVE = str(Path(sys.executable).with_name("sealserve"))
SHARES_RUNS = "--batch-independent"
_READY = re.compile(r" on (\S+):(\d+);")


@dataclass(frozen=True)
class Attested:
    """host, port: where it answers. trust: what accepts it and nothing else. process: the first of
    its processes, which leads a group.
    """

    host: str
    port: int
    trust: Trust
    process: int

    def kill(self) -> None:
        """Every process of it, at once, as a machine goes that loses power."""
        os.killpg(self.process, signal.SIGKILL)


@dataclass(frozen=True)
class Owned:
    """What an owner prepares for any number of servers. command: starts one. roots: by name."""

    command: Sequence[str]
    trust: Trust
    roots: Mapping[str, str]

    @contextmanager
    def serving(self, prefix: Sequence[object] = ()) -> Iterator[Attested]:
        """One more, while it serves. prefix: of its command."""
        with running([*prefix, *self.command], _READY) as (process, found):
            yield Attested(found[1], int(found[2]), self.trust, process.pid)


@contextmanager
def attested(
    folder: Path, models: Mapping[str, Path] = EXAMPLE, *sealing: str
) -> Iterator[Attested]:
    """One server, while it serves; the arguments are those of `owned`."""
    with owned(folder, models, *sealing).serving() as server:
        yield server


def owned(folder: Path, models: Mapping[str, Path] = EXAMPLE, *sealing: str) -> Owned:
    """Sealed models, a policy and a trust file; all of it stands in this folder.

    models: ONNX files by the name that each is served under. sealing: further options of `seal`.
    """
    key = folder / "owner.key"
    _told("key", "new", key)
    roots = {name: _sealed(folder, name, model, key, *sealing) for name, model in models.items()}
    return served(folder, roots)


def served(folder: Path, roots: Mapping[str, str], *options: str) -> Owned:
    """The models that stand there sealed, served in another way. options: further ones of `serve`.

    roots: by the name of each.
    """
    key = folder / "owner.key"
    word = "".join(options) or "plain"
    policy, trust = folder / f"{word}.rego", folder / f"{word}.toml"
    serve = ["serve", *(str(_file(folder, name)) for name in roots), "--identity", str(key)]
    serve += [word for root in roots.values() for word in ("--root", root)]
    serve += ["--listen", "127.0.0.1:0", *options]
    _told("policy", "generate", "--process", "-o", policy, "--", SEALSERVE, *serve)
    platform = ("--root-dir", folder / "tee")
    about = _told("tee", "info", *platform)
    _told(
        *("trust", "new", "-o", trust, "--name", "benchmark", "--platform", "simulated"),
        *("--simulated-root-sha256", about["simulated_root_sha256"], "--policy", policy),
        *("--measurement", about["measurement"]),
        *(word for name, root in roots.items() for word in ("--model", f"{name}={root}")),
    )
    run = [SEALSERVE, "tee", "run", "--policy", policy, *platform, "--", SEALSERVE, *serve]
    return Owned([*map(str, run)], Trust.load(trust), roots)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.sealed"


def _sealed(folder: Path, name: str, model: Path, key: Path, *options: str) -> str:
    """Seal one model there; its root."""
    named = ("--name", name, "--version", "1")
    sealed = ("-o", _file(folder, name), "--key", f"hpke:{key}.pub")
    root: str = _told("seal", model, *sealed, *named, *options)["root"]
    return root


def _told(*arguments: object) -> dict[str, Any]:
    """What a command says, as JSON where it has that."""
    command = [SEALSERVE, *map(str, arguments)]
    if arguments[0] in ("seal", "tee"):
        command.append("--json")
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(done.stdout) if command[-1] == "--json" else {}
