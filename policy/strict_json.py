"""JSON with one reading: limits first, no duplicate members, no NaN, no half characters."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

MAX_DEPTH = 32  # the deepest text we write nests 5 levels; far below what exhausts a stack

# Possessive, and a string that never ends counts as one: whatever the text, one pass over it.
_STRING_OR_BRACKET = re.compile(r'"(?:\\.|[^"\\])*+"?|[\[\]{}]', re.DOTALL)


def loads(text: str, *, max_depth: int = MAX_DEPTH) -> object:
    """Parse one JSON text. Raises ValueError, and nothing else, for what is not exactly that.

    The caller limits the length. Numbers come back as int or float.
    """
    _check_depth(text, max_depth)
    value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError: half a surrogate pair
    return value


def _check_depth(text: str, limit: int) -> None:
    """Count brackets outside strings, so that the parser below never recurses further."""
    depth = 0
    for token in _STRING_OR_BRACKET.findall(text):
        if token in ("[", "{"):
            depth += 1
            if depth > limit:
                raise ValueError(f"nested deeper than {limit} levels")
        elif token in ("]", "}"):
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"member {name[:80]!r} appears twice")
        members[name] = value
    return members


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not a number we read")
