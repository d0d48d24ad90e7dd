"""A server of ours on the simulated platform, set up by the commands that people type."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealserve.policy import Trust

MODEL = Path(__file__).resolve().parents[2] / "examples" / "breast_cancer" / "model.onnx"
SEALSERVE = str(Path(sys.executable).with_name("sealserve"))
_READY = re.compile(r" on (\S+):(\d+);")


@dataclass(frozen=True)
class Attested:
    """host, port: where it answers. trust: what accepts it and nothing else."""

    host: str
    port: int
    trust: Trust


@contextmanager
def attested(folder: Path) -> Iterator[Attested]:
    """While it serves; everything it needs stands in this folder."""
    key, sealed, policy = folder / "owner.key", folder / "model.sealed", folder / "policy.rego"
    _told("key", "new", key)
    named = ("--name", "m", "--version", "1")
    root = _told("seal", MODEL, "-o", sealed, "--key", f"hpke:{key}.pub", *named)["root"]
    serve = ["serve", sealed, "--root", root, "--identity", key, "--listen", "127.0.0.1:0"]
    _told("policy", "generate", "--process", "-o", policy, "--", SEALSERVE, *serve)
    platform = ("--root-dir", folder / "tee")
    about = _told("tee", "info", *platform)
    trust = folder / "trust.toml"
    _told(
        *("trust", "new", "-o", trust, "--name", "benchmark", "--platform", "simulated"),
        *("--simulated-root-sha256", about["simulated_root_sha256"], "--policy", policy),
        *("--measurement", about["measurement"], "--model", f"m={root}"),
    )
    command = [SEALSERVE, "tee", "run", "--policy", policy, *platform, "--", SEALSERVE, *serve]
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        try:
            assert running.stdout is not None
            found = _READY.search(running.stdout.readline())
            if found is None:
                raise RuntimeError("the server did not become ready")
            yield Attested(found[1], int(found[2]), Trust.load(trust))
        finally:
            running.terminate()


def _told(*arguments: object) -> dict[str, Any]:
    """What a command says, as JSON where it has that."""
    command = [SEALSERVE, *map(str, arguments)]
    if arguments[0] in ("seal", "tee"):
        command.append("--json")
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(done.stdout) if command[-1] == "--json" else {}
