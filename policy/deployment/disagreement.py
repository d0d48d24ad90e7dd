"""What does not fit together, with both sides and where each of them stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sealserve.policy.remarks import RANKS, Rank


@dataclass(frozen=True)
class Side:
    """where: the file, and the place in it. says: what stands there."""

    where: str
    says: str


@dataclass(frozen=True)
class Disagreement:
    """code: stable. what: one sentence. sides: two, or one where something is not there."""

    rank: Rank
    code: str
    what: str
    sides: tuple[Side, ...]
    hint: str


Disagreements = Iterator[Disagreement]


def ranked(found: Iterable[Disagreement]) -> tuple[Disagreement, ...]:
    """The worst first; the order of the checks within a rank."""
    return tuple(sorted(found, key=lambda each: RANKS.index(each.rank)))


def listed(values: Iterable[str]) -> str:
    """Several values on one line."""
    return ", ".join(sorted(values)) or "none"
