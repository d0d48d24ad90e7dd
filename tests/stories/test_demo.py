"""`make demo` tells its whole story, and the README quotes what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHANGES = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9]+\.[0-9] s\b")


def steady(line: str) -> str:
    """A line without what differs from run to run: digests and times."""
    return CHANGES.sub("…", line).rstrip()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of one demo, which left nothing behind."""
    temporary = tmp_path_factory.mktemp("demo")
    ran = subprocess.run(
        [sys.executable, ROOT / "examples/breast_cancer/demo.py"],
        cwd=temporary,
        env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert list(temporary.iterdir()) == []
    return [steady(line) for line in ran.stdout.splitlines()]


def test_it_ends_in_five_refusals_each_with_its_exit_code(told: list[str]) -> None:
    exits = [line.rpartition(" ")[2] for line in told if "✗ refused" in line]
    assert exits == ["6", "4", "6", "7", "7"]


def test_it_says_that_nothing_is_proven_about_hardware(told: list[str]) -> None:
    assert any("proves NOTHING about hardware" in line for line in told)


def test_the_readme_quotes_what_it_prints(told: list[str]) -> None:
    readme = (ROOT / "README.md").read_text()
    (quoted,) = re.findall(r"^```text\n\$ make demo\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    wanted = [steady(line) for line in quoted.splitlines()]
    start = told.index(wanted[0])
    assert told[start : start + len(wanted)] == wanted
