"""Parsers under inputs nobody planned: see targets.py for the table and for longer hunts."""

from __future__ import annotations

import random
from functools import cache
from itertools import islice

import pytest

from fuzz.targets import TARGETS
from support.fuzz_mutations import Target

QUICK_INPUTS = 50  # for each row, always the same
LONG_SECONDS = 20.0  # for each row, each time others

# What cryptography warns of it reads, or refuses later: an odd serial number, a long name.
pytestmark = pytest.mark.filterwarnings(
    "ignore::cryptography.utils.CryptographyDeprecationWarning", "ignore:Attribute's length"
)
of_each = pytest.mark.parametrize("name", TARGETS)


@cache
def target(name: str) -> Target:
    return TARGETS[name]()


@of_each
def test_what_is_changed_was_accepted_before(name: str) -> None:
    """Otherwise a target tries the first check of its parser and nothing behind it."""
    row = target(name)
    assert row.seeds
    assert all(row.attack(seed) for seed in row.seeds)


@of_each
def test_only_documented_errors(name: str) -> None:
    row = target(name)
    for data in islice(row.inputs(random.Random(name)), QUICK_INPUTS):
        row.attack(data)


@pytest.mark.long
@of_each
def test_only_documented_errors_for_longer(name: str) -> None:
    tried, _ = target(name).hunt(random.Random(), LONG_SECONDS)
    assert tried > QUICK_INPUTS
