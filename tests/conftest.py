"""What every test gets: nobody imports our folders by their bare names, nobody reports home."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# `python -m pytest` puts the repository root on the path, from where `import models` would work.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


def pytest_addoption(parser: pytest.Parser) -> None:
    """For the tests of vectors, test_…_vectors.py: each says what the directory has to hold."""
    parser.addoption("--vectors", metavar="DIR", help="judge the vectors in this directory")


pytest_plugins = ["support.attestation_simulated"]
