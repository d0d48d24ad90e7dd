"""Parsers under inputs nobody planned: see targets.py for the table, run.py for hunts."""

from __future__ import annotations

import random
from functools import cache
from itertools import islice
from pathlib import Path

import pytest

from fuzz.brief import BRIEF
from fuzz.targets import TARGETS
from support.fuzz_mutations import Target

QUICK_INPUTS = 50  # for each row, always the same
CORPUS = Path(__file__).with_name("corpus")

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


@of_each
def test_what_hunts_found(name: str) -> None:
    """Inputs that once covered something new: see corpus/README.md."""
    for file in sorted((CORPUS / name).glob("*")):
        target(name).attack(file.read_bytes())


def test_every_corpus_has_its_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} <= TARGETS.keys()


def test_what_is_hunted_briefly_is_there() -> None:
    assert TARGETS.keys() >= BRIEF
