"""What every test gets: nobody imports our folders by their bare names, nobody reports home."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
SLOW = {"benchmarks", "stories"}  # folders whose files have few tests, each of many seconds

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# `python -m pytest` puts the repository root on the path, from where `import models` would work.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

# A gate judges a change by the same examples each time and never by a clock; `make long` looks
# further, at others each time.
hypothesis.settings.register_profile("gate", derandomize=True, deadline=None)
hypothesis.settings.register_profile("hunt", max_examples=2000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("gate")


def pytest_addoption(parser: pytest.Parser) -> None:
    """For the tests of vectors, `test_*_vectors.py`: other directories of the same form."""
    parser.addoption("--vectors", metavar="DIR", help="judge the cases in this directory")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones come first, so that at the end no worker is left alone with one."""
    items.sort(key=lambda item: SLOW.isdisjoint(item.path.parts))


pytest_plugins = ["support.attestation_simulated"]
