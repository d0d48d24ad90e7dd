"""The README's walk-throughs run as written; only the ports are free ones of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PORTS = ("8001", "8443")
OWN_TERMINAL = "# in a terminal of its own\n"

# each terminal is a process group of its own, and all are closed at the end
PROLOGUE = """set -euo pipefail
set -m
trap 'for group in $(jobs -p); do kill -- -$group; done; wait' EXIT
"""
TERMINAL = """
( {commands} ) > terminal{number}.out 2> terminal{number}.err &
until grep -q ready terminal{number}.out; do
  kill -0 $! 2>/dev/null || {{ cat terminal{number}.err >&2; exit 1; }}
  sleep 0.1
done
"""


def blocks() -> list[str]:
    """Every shell block of the README, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def as_script() -> str:
    """One script that does what a person with several terminals does."""
    parts = [PROLOGUE]
    for number, block in enumerate(blocks()):
        if block.startswith(OWN_TERMINAL):
            commands = block.removeprefix(OWN_TERMINAL)
            parts.append(TERMINAL.format(commands=commands, number=number))
        else:
            parts.append(block)
    script = "\n".join(parts)
    for port in PORTS:
        assert port in script
        script = script.replace(f":{port}", f":{free_port()}")
    return script


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder after all walk-throughs, and what they printed."""
    clone = tmp_path_factory.mktemp("walk")
    (clone / "examples").symlink_to(ROOT / "examples")
    (clone / ".venv").symlink_to(Path(sys.prefix))
    ran = subprocess.run(
        ["bash", "-c", as_script()],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "HOME": str(clone), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return clone / "clinic", ran.stdout


@pytest.mark.parametrize("person", ["owner", "operator", "client"])
def test_each_person_has_a_walk_through(person: str) -> None:
    titles = re.findall(r"^### (.*)$", README, re.MULTILINE)
    assert any(person in title for title in titles)


def test_the_client_gets_an_answer_for_every_patient(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    with np.load(folder / "answers.npz") as answers:
        assert answers["probabilities"].shape == (12, 2)


def test_the_client_is_told_that_the_platform_is_simulated(walked: tuple[Path, str]) -> None:
    _, printed = walked
    assert "SIMULATED PLATFORM" in printed


def test_the_servers_ended_with_their_terminals(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    ran = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True, check=False)
    assert ran.stdout == ""
