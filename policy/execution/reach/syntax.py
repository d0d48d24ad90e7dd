"""Patterns of RE2's syntax as automata.

What RE2 has and this has not (word boundaries, Unicode classes, line mode) is taken to match more
than it does: that two patterns share no text is certain, and a text that both seem to have is to be
tried with RE2 itself.

Syntax: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from sealserve.policy.execution.reach.assembly import Assembly, Piece
from sealserve.policy.execution.reach.automaton import Automaton, UndecidedError
from sealserve.policy.execution.reach.characters import (
    ANY,
    CLASSES,
    CONTROLS,
    LAST,
    NAMED,
    NO_LINE_END,
    Ranges,
    folded,
    merged,
    one,
    without,
)

_MAX_DEPTH = 200


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> Automaton:
    """The texts in which RE2 would find `pattern`. Raises UndecidedError."""
    return _Reader(pattern).automaton()


@dataclass(frozen=True)
class _Flags:
    fold: bool = False
    lines: bool = False
    dot_all: bool = False


class _Reader:
    """Reads a pattern once, and lays down states as it goes."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._made = Assembly()
        self._depth = 0

    def automaton(self) -> Automaton:
        inner, _ = self._alternatives(_Flags())
        if self._at < len(self._text):
            raise UndecidedError("a bracket too many")
        return self._made.found_anywhere(inner)

    # ---- grammar

    def _alternatives(self, flags: _Flags) -> tuple[Piece, _Flags]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UndecidedError("nested too deep")
        branches = []
        while True:
            branch, flags = self._sequence(flags)
            branches.append(branch)
            if self._peek() != "|":
                break
            self._at += 1
        self._depth -= 1
        return (branches[0] if len(branches) == 1 else self._made.either(branches)), flags

    def _sequence(self, flags: _Flags) -> tuple[Piece, _Flags]:
        pieces: list[Piece] = []
        while self._at < len(self._text) and self._peek() not in ("|", ")"):
            piece, flags = self._atom(flags)
            pieces.append(self._repeated(piece))
        return self._made.joined(pieces), flags

    def _atom(self, flags: _Flags) -> tuple[Piece, _Flags]:
        char = self._next()
        if char == "(":
            return self._group(flags)
        if char == "[":
            return self._made.reads(self._class(flags)), flags
        if char == ".":
            return self._made.reads(ANY if flags.dot_all else NO_LINE_END), flags
        if char == "^":
            return self._made.asserts("" if flags.lines else "begin"), flags
        if char == "$":
            return self._made.asserts("" if flags.lines else "end"), flags
        if char == "\\":
            return self._escape(flags), flags
        if char in "*+?":
            raise UndecidedError("nothing to repeat")
        return self._made.reads(one(ord(char), fold=flags.fold)), flags

    def _group(self, flags: _Flags) -> tuple[Piece, _Flags]:
        inner_flags = flags
        if self._peek() == "?":
            self._at += 1
            if self._peek() in ("P", "<"):
                self._name()
            else:
                inner_flags, ended = self._set_flags(flags)
                if ended:
                    return self._made.joined([]), inner_flags
        piece, _ = self._alternatives(inner_flags)
        if self._next() != ")":
            raise UndecidedError("a bracket is open")
        return piece, flags

    def _name(self) -> None:
        end = self._text.find(">", self._at)
        if end < 0:
            raise UndecidedError("a name is open")
        self._at = end + 1

    def _set_flags(self, flags: _Flags) -> tuple[_Flags, bool]:
        """Flags up to `:` or `)`, and whether the latter ended them."""
        on = True
        fold, lines, dot_all = flags.fold, flags.lines, flags.dot_all
        while True:
            char = self._next()
            if char in (":", ")"):
                return _Flags(fold, lines, dot_all), char == ")"
            if char == "-":
                on = False
            elif char == "i":
                fold = on
            elif char == "m":
                lines = on
            elif char == "s":
                dot_all = on
            elif char != "U":
                raise UndecidedError(f"an unknown flag {char!r}")

    def _repeated(self, piece: Piece) -> Piece:
        while True:
            char = self._peek()
            if char in ("*", "+", "?"):
                self._at += 1
                least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
                piece = self._made.repeated(piece, least, most)
            elif char == "{" and (counts := self._counts()):
                piece = self._made.repeated(piece, *counts)
            else:
                return piece
            if self._peek() == "?":  # how much it prefers makes no difference here
                self._at += 1

    def _counts(self) -> tuple[int, int | None] | None:
        """`{n}`, `{n,}` or `{n,m}`; anything else is a bracket that means itself."""
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at + 1 : max(end, 0)].partition(",")
        if end < 0 or not low.isdecimal() or not (high.isdecimal() or not high):
            return None
        self._at = end + 1
        least = int(low)
        return least, (int(high) if high else None) if comma else least

    # ---- escapes and classes

    def _escape(self, flags: _Flags) -> Piece:
        char = self._next()
        if char in "AzbB":
            return self._made.asserts({"A": "begin", "z": "end"}.get(char, ""))
        if char == "Q":
            end = self._text.find("\\E", self._at)
            quoted = self._text[self._at : end if end >= 0 else len(self._text)]
            self._at = len(self._text) if end < 0 else end + 2
            return self._made.joined(
                [self._made.reads(one(ord(each), fold=flags.fold)) for each in quoted]
            )
        self._at -= 1
        return self._made.reads(self._escaped(flags))

    def _escaped(self, flags: _Flags) -> Ranges:
        """What an escape stands for, inside a class or not."""
        char = self._next()
        if char.lower() in CLASSES:
            ranges = CLASSES[char.lower()]
            return ranges if char.islower() else without(ranges)
        if char in "pP":
            self._property()
            return ANY
        if char in CONTROLS:
            return one(CONTROLS[char], fold=flags.fold)
        if char == "x":
            return one(self._hexadecimal(), fold=flags.fold)
        if char in "01234567":
            return one(self._octal(char), fold=flags.fold)
        if char.isalnum():
            raise UndecidedError(f"an unknown escape {char!r}")
        return one(ord(char), fold=flags.fold)

    def _property(self) -> None:
        if self._next() == "{":
            self._at = self._text.find("}", self._at) + 1
            if not self._at:
                raise UndecidedError("a property is open")

    def _hexadecimal(self) -> int:
        if self._peek() == "{":
            end = self._text.find("}", self._at)
            digits, self._at = self._text[self._at + 1 : max(end, 0)], end + 1
        else:
            digits, self._at = self._text[self._at : self._at + 2], self._at + 2
        try:
            return min(int(digits, 16), LAST)
        except ValueError:
            raise UndecidedError("an escape without digits") from None

    def _octal(self, first: str) -> int:
        digits = first
        while len(digits) < 3 and (self._peek() or "x") in "01234567":
            digits += self._next()
        return int(digits, 8)

    def _class(self, flags: _Flags) -> Ranges:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self._peek() != "]":
            ranges += self._class_item(flags)
            first = False
        self._at += 1
        return without(tuple(ranges)) if negated else merged(ranges)

    def _class_item(self, flags: _Flags) -> Ranges:
        if self._text.startswith("[:", self._at):
            return self._named_class()
        low = self._class_char()
        if isinstance(low, tuple):
            return low
        if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
            self._at += 1
            high = self._class_char()
            if isinstance(high, tuple) or high < low:
                raise UndecidedError("a range without an end")
            return folded(((low, high),)) if flags.fold else ((low, high),)
        return one(low, fold=flags.fold)

    def _class_char(self) -> int | Ranges:
        """One character, or what an escape stands for if it is not one."""
        char = self._next()
        if char != "\\":
            return ord(char)
        ranges = self._escaped(_Flags())
        if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
            return ranges[0][0]
        return ranges

    def _named_class(self) -> Ranges:
        end = self._text.find(":]", self._at)
        name = self._text[self._at + 2 : max(end, 0)]
        self._at = end + 2
        found = NAMED.get(name.removeprefix("^"))
        if end < 0 or found is None:
            raise UndecidedError("an unknown class")
        return without(found) if name.startswith("^") else found

    # ---- letters

    def _peek(self) -> str | None:
        return self._text[self._at] if self._at < len(self._text) else None

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise UndecidedError("ends too early")
        self._at += 1
        return self._text[self._at - 1]
