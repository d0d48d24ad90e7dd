"""JSON as people write templates: with comments, and with the place of every value in the text.

Azure's tools take `//` and `/* */` between values. A comment is read as blanks, so that places stay
those of the file, and what is left has to be JSON with one reading (`strict_json`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sealserve.native.errors import ConfigError
from sealserve.policy import strict_json
from sealserve.policy.execution.complaints import shown

_MEND = "mend it there; comments as Azure's tools take them are fine, commas at the end are not"
MAX_TEMPLATE_BYTES = 4 * 1024 * 1024  # Azure Resource Manager's own limit for a template
_MAX_DEPTH = 64  # a probe's command lies about 12 deep; nested deployments double that

# A string that never ends counts as one, and so does a comment: one pass, whatever the text.
_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*+"?|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
_BLANK = re.compile(r"[^\r\n]")
_SPACE = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"[^\s,\]}]+")
_STRING = re.compile(r'"(?:\\.|[^"\\])*+"', re.DOTALL)


@dataclass(frozen=True)
class Place:
    """A value from `start` up to `end`. members, keys: of an object, keys at their own places."""

    start: int
    end: int
    members: Mapping[str, Place] = field(default_factory=dict)
    keys: Mapping[str, int] = field(default_factory=dict)
    items: Sequence[Place] = ()

    def at(self, path: Sequence[str | int]) -> Place:
        """The place of what lies there; KeyError or IndexError if nothing does."""
        here = self
        for step in path:
            here = here.items[step] if isinstance(step, int) else here.members[step]
        return here


def read(data: bytes, *, file: str = "") -> object:
    """The value of a file's bytes, a byte order mark in front of it or not. Raises as `loads`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 at byte {error.start}", file=file, hint="save it as UTF-8"
        ) from None
    return loads(text, file=file)


def loads(text: str, *, file: str = "") -> object:
    """The value. Raises ConfigError with file and, where it is known, line."""
    if len(text) > MAX_TEMPLATE_BYTES:
        raise ConfigError(
            f"has {len(text)} characters; at most {MAX_TEMPLATE_BYTES} are read",
            file=file,
            hint="split it: each group can have a template of its own",
        )
    try:
        return strict_json.loads(_without_comments(text), max_depth=_MAX_DEPTH)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"not JSON: {error.msg}", file=file, line=error.lineno, hint=_MEND
        ) from None
    except ValueError as error:
        raise ConfigError(f"not JSON: {shown(f'{error}')}", file=file, hint=_MEND) from None


def places(text: str) -> Place:
    """Where everything is, in a text that `loads` takes."""
    found, _ = _place(_without_comments(text), 0)
    return found


def _without_comments(text: str) -> str:
    return _STRING_OR_COMMENT.sub(
        lambda found: found[0] if found[0][0] == '"' else _BLANK.sub(" ", found[0]), text
    )


def _place(text: str, at: int) -> tuple[Place, int]:
    at = _after_space(text, at)
    if text[at] == "{":
        return _object(text, at)
    if text[at] == "[":
        return _array(text, at)
    end = _after(_STRING if text[at] == '"' else _SCALAR, text, at)
    return Place(at, end), end


def _object(text: str, start: int) -> tuple[Place, int]:
    members: dict[str, Place] = {}
    keys: dict[str, int] = {}
    at = _after_space(text, start + 1)
    while text[at] != "}":
        key_at, at = at, _after(_STRING, text, at)
        key = json.loads(text[key_at:at])
        at = _after_space(text, at) + 1  # the colon
        members[key], at = _place(text, at)
        keys[key] = key_at
        at = _after_space(text, at)
        at = _after_space(text, at + 1) if text[at] == "," else at
    return Place(start, at + 1, members, keys), at + 1


def _array(text: str, start: int) -> tuple[Place, int]:
    items: list[Place] = []
    at = _after_space(text, start + 1)
    while text[at] != "]":
        item, at = _place(text, at)
        items.append(item)
        at = _after_space(text, at)
        at = _after_space(text, at + 1) if text[at] == "," else at
    return Place(start, at + 1, items=items), at + 1


def _after_space(text: str, at: int) -> int:
    return _after(_SPACE, text, at)


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
