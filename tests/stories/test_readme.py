"""The README's walk-throughs run as written; only the ports are free ones of this machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from support.walk_through import ROOT, as_script, walk

README = (ROOT / "README.md").read_text()
PORTS = ("8001", "8443")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder after all walk-throughs, and what they printed."""
    clone = tmp_path_factory.mktemp("walk")
    printed = walk(clone, as_script(README, PORTS), seconds=300)
    return clone / "clinic", printed


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
