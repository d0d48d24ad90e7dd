"""Walk-throughs of documents, run as written; only the ports are free ones of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
OWN_TERMINAL = "# in a terminal of its own\n"
THAT_TERMINAL = "# in that terminal, after Ctrl-C\n"

# each terminal is a process group of its own, and all are closed at the end
PROLOGUE = """set -euo pipefail
set -m
trap 'for group in $(jobs -p); do kill -- -$group; done; wait' EXIT
"""
TERMINAL = """
( {commands} ) > terminal{number}.out 2> terminal{number}.err &
terminal=$!
until grep -q ready terminal{number}.out; do
  kill -0 $terminal 2>/dev/null || {{ cat terminal{number}.err >&2; exit 1; }}
  sleep 0.1
done
"""
CTRL_C = """
kill -INT -- -$terminal
wait $terminal || true
"""


def blocks(document: str) -> list[str]:
    """Every shell block of a document, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)


def as_script(document: str, ports: Sequence[str]) -> str:
    """One script that does what a person with several terminals does."""
    parts = [PROLOGUE]
    for number, block in enumerate(blocks(document)):
        commands = block.removeprefix(OWN_TERMINAL).removeprefix(THAT_TERMINAL)
        if block.startswith(THAT_TERMINAL):
            parts.append(CTRL_C)
        own = commands != block
        parts.append(TERMINAL.format(commands=commands, number=number) if own else block)
    script = "\n".join(parts)
    for port in ports:
        assert port in script
        script = script.replace(f":{port}", f":{free_port()}")
    return script


def walk(clone: Path, script: str, *, seconds: float) -> str:
    """Run a script in a folder that looks like a clone; what it printed. Fails as it fails."""
    (clone / "examples").symlink_to(ROOT / "examples")
    (clone / ".venv").symlink_to(Path(sys.prefix))
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "HOME": str(clone), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
