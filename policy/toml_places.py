"""Where a key stands in a TOML text; `tomllib` tells only where a text stops being TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""
    (?P<text> \"{3} (?:\\.|[^\\])*? \"{3} | '{3} .*? '{3} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
  | (?P<comment> \#[^\n]* )
  | (?P<open> [\[{] )
  | (?P<close> [\]}] )
  | (?P<end> \n )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Places:
    """Line numbers, from 1, of every key of a text that `tomllib` accepted.

    A value inside an array or an inline table has the line on which its statement begins.
    """

    lines: Mapping[Path, int]

    @classmethod
    def of(cls, text: str) -> Places:
        """Find every statement of `text`, which has to be valid TOML."""
        lines: dict[Path, int] = {}
        table: Path = ()
        for line, statement in _statements(text):
            stripped = statement.strip()
            paths = list(_paths(tomllib.loads(stripped)))
            if stripped.startswith("["):
                table = paths[-1]
                paths = [table[:depth] for depth in range(1, len(table) + 1)]
            else:
                paths = [table + path for path in paths]
            for path in paths:
                lines.setdefault(path, line)
        return cls(lines)

    def line(self, path: Path) -> int:
        """The line of a key, or of the nearest thing around it that is there; else 1."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return 1


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Every header and every `key = value`, with the line it begins on."""
    begin, depth = 0, 0
    for token in _TOKEN.finditer(text):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif token["end"] and depth == 0:
            yield from _statement(text, begin, token.end())
            begin = token.end()
    yield from _statement(text, begin, len(text))


def _statement(text: str, begin: int, end: int) -> Iterator[tuple[int, str]]:
    statement = text[begin:end]
    if statement.strip() and not statement.lstrip().startswith("#"):
        yield text.count("\n", 0, begin) + 1, statement


def _paths(value: object, path: Path = ()) -> Iterator[Path]:
    """The way to every value, the ways to what holds them before; a header ends at its table."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*path, index))


def spell(path: Path) -> str:
    """`software.policies[0].sha256`: a path as people write it."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
