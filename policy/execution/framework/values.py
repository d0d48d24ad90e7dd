"""How the guest's rules compare: nothing is quietly something, and only `false` and nothing fail.

A policy is a stranger's JSON, a request is the host's. Whatever is missing or of another kind has
to make a condition fail exactly where it does so in Rego (Open Policy Agent, policy language).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sealserve.policy.execution.text import Fields as Fields

MAX_SHOWN = 300  # characters of a value: a policy may have a megabyte


class _Undefined:
    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = _Undefined()


def member(value: object, *names: str) -> object:
    """`value.name.name`, or UNDEFINED where one of them is missing."""
    for name in names:
        if not isinstance(value, dict) or name not in value:
            return UNDEFINED
        value = value[name]
    return value


def holds(value: object) -> bool:
    """What makes a statement true: everything but `false` and UNDEFINED, so null and 0 as well."""
    return value is not UNDEFINED and value is not False


def items(value: object) -> list[object]:
    """What `value[_]` goes through: the items of a list, else nothing."""
    return value if isinstance(value, list) else []


def texts(value: object) -> list[str] | None:
    """A list of text as it is; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return value


def same(one: object, other: object) -> bool:
    """Equal as Rego has it: `true` is no 1, and nothing equals UNDEFINED, itself included."""
    if one is UNDEFINED or other is UNDEFINED:
        return False
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def same_members(one: Sequence[object], other: Sequence[object]) -> bool:
    """Equally many, and each item of one in the other."""
    return (
        len(one) == len(other)
        and all(any(same(a, b) for b in other) for a in one)
        and all(any(same(a, b) for a in one) for b in other)
    )


def shown(value: object) -> str:
    """A value for a message, cut to a length that a line bears; never half a character."""
    if value is UNDEFINED:
        return "nothing"
    told = json.dumps(value, sort_keys=True)
    return told if len(told) <= MAX_SHOWN else f"{told[:MAX_SHOWN]}…"
