"""How verbs tell a difference in meaning: what each of two files accepts beyond the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sealserve.native.errors import printable
from sealserve.policy.trust_diff import Beyond

DIFFERENT = 1  # what `diff` says of two files that differ


def document(only_one: Sequence[Beyond], only_other: Sequence[Beyond]) -> dict[str, object]:
    """As JSON, both ways."""
    return {
        "only_a": [asdict(found) for found in only_one],
        "only_b": [asdict(found) for found in only_other],
    }


def lines(
    one: object, other: object, only_one: Sequence[Beyond], only_other: Sequence[Beyond]
) -> list[str]:
    """In words, both ways; no line at all where there is no difference."""
    return [*_only(one, other, only_one), *_only(other, one, only_other)]


def _only(one: object, other: object, found: Sequence[Beyond]) -> list[str]:
    if not found:
        return []
    return [
        printable(line)
        for line in (
            f"accepted by {one}, not by {other}:",
            *(
                f"  {each.key}: {each.accepted}{f'; wanted {each.wanted}' if each.wanted else ''}"
                for each in found
            ),
        )
    ]
