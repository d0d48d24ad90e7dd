"""The table of exit codes in the folder's README names every code there is."""

from __future__ import annotations

import re
from pathlib import Path

from sealserve.cli import main, trust
from sealserve.native import errors

README = Path(__file__).resolve().parents[2] / "cli" / "README.md"


def test_every_exit_code_is_documented() -> None:
    kinds = errors.SealserveError.__subclasses__()
    codes = {
        trust.DIFFERENT,
        2,
        main.UNFORESEEN,
        main.INTERRUPTED,
        *(kind.exit_code for kind in kinds),
    }
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README.read_text(), re.M)} == codes
