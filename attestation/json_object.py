"""A JSON object with one reading, out of bytes that others wrote."""

from __future__ import annotations

import json
from typing import Final, NoReturn

from sealserve.native.errors import EvidenceError


def read(data: bytes, code: str, what: str = "a text") -> dict[str, object]:
    """One JSON object (RFC 8259, UTF-8) without duplicate names. Raises EvidenceError(code).

    what: the text, as a message calls it.
    """
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise EvidenceError(
            code,
            f"{what} is not JSON we accept",
            seen=str(error)[:120],
            wanted="one object, no name twice",
        ) from None
    if not isinstance(value, dict):
        raise EvidenceError(code, f"JSON of {what}", seen=type(value).__name__, wanted="an object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
