"""What a lint says of a file: each thing to think about again, ranked.

critical  whoever runs the machine can have what the file is there to keep from them
danger    the file lets through what it should not, or nothing at all
doubt     it lets through something with a known weakness, or soon nothing
note      it works, and could be tidier
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Rank = Literal["critical", "danger", "doubt", "note"]
RANKS: tuple[Rank, ...] = ("critical", "danger", "doubt", "note")


@dataclass(frozen=True)
class Remark:
    """One thing to think about. key: of the file. hint: what to do about it."""

    rank: Rank
    key: str
    what: str
    hint: str


Remarks = Iterator[Remark]


def ranked(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """The worst first; the order of the file within a rank."""
    return tuple(sorted(remarks, key=lambda remark: RANKS.index(remark.rank)))
