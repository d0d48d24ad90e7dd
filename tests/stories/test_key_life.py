"""The life of a vault key, as its document tells it: every line is run, in one go.

Fifty commands and five starts of a server take a minute or two; that each command and option is
there, `tests/test_readme.py` sees at once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.walk_through import ROOT, as_script, walk

DOCUMENT = (ROOT / "docs" / "key-life.md").read_text()
pytestmark = pytest.mark.long
PORTS = ("8001", "8002", "8443")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder afterwards, and what was printed."""
    clone = tmp_path_factory.mktemp("walk")
    printed = walk(clone, as_script(DOCUMENT, PORTS), seconds=900)
    return clone / "key-life", printed


def test_both_versions_are_good_while_the_key_is_rotated(walked: tuple[Path, str]) -> None:
    _, printed = walked
    rotated = printed.partition("rewrapped  first.sealed")[2].partition("DISABLED")[0]
    assert rotated.count("would be released") >= 3
    assert "would NOT be released" in printed


def test_one_broken_file_stops_none_of_the_others(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    told = json.loads((folder / "rewrapped.json").read_text())
    assert [each["exit"] for each in told["files"]] == [0, 3, 0]
    assert (folder / "opened" / "model.onnx").exists()


def test_the_old_image_hears_which_clause_it_fails(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    refused = (folder / "refused.txt").read_text()
    assert refused.count("\n  - ") == 1


def test_who_is_revoked_opens_nothing_new(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    assert not (folder / "again").exists()
