"""Whether some text matches two patterns at once, found without trying texts.

A pattern of RE2's syntax becomes a nondeterministic automaton over ranges of characters, and the
product of two automata is searched for a way to the end. What RE2 has and this has not (word
boundaries, Unicode classes, line mode) is taken to match more than it does: an answer "none" is
certain, and a text that is found is to be tried with RE2 itself.

Syntax: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MAX_STATES = 2000  # a pattern that people write has a hundred
MAX_PAIRS = 50_000  # pairs of states that one search may look at: a fraction of a second
_MAX_DEPTH = 200
_LAST = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]

ANY: Ranges = ((0, _LAST),)
_NO_LINE_END: Ranges = ((0, 9), (11, _LAST))
_CLASSES: dict[str, Ranges] = {
    "d": ((48, 57),),
    "s": ((9, 10), (12, 13), (32, 32)),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
}
_NAMED: dict[str, Ranges] = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": ((48, 57),),
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}
_CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


class UndecidedError(ValueError):
    """A pattern too large, or of a syntax that this does not know."""


@dataclass
class _State:
    """Where a search can be. on: what is read to get to `then`; assertion: what has to be true."""

    then: list[int] = field(default_factory=list)
    on: Ranges | None = None
    assertion: str = ""


@dataclass(frozen=True)
class Automaton:
    """Text from its beginning to its end. start, end: indices of states."""

    states: Sequence[_State]
    start: int
    end: int


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> Automaton:
    """The texts in which RE2 would find `pattern`. Raises UndecidedError."""
    return _Builder(pattern).automaton()


def exactly(text: str) -> Automaton:
    """This text and no other. Raises UndecidedError for a very long one."""
    if len(text) >= MAX_STATES:
        raise UndecidedError("a long text")
    states = [_State([index + 1], ((ord(char), ord(char)),)) for index, char in enumerate(text)]
    return Automaton([*states, _State()], 0, len(text))


def common(one: Automaton, other: Automaton) -> str | None:
    """A text of both, a short one; None if there is none. Raises UndecidedError."""
    begin = (one.start, other.start, False, False)
    came: dict[tuple[int, int, bool, bool], tuple[tuple[int, int, bool, bool], str] | None]
    came = {begin: None}
    waiting = [begin]
    for here in waiting:
        if here[0] == one.end and here[1] == other.end:
            return _way(came, here)
        for there, read in _steps(one, other, here):
            if there not in came:
                came[there] = (here, read)
                waiting.append(there)
        if len(came) > MAX_PAIRS:
            raise UndecidedError("too many states")
    return None


Pair = tuple[int, int, bool, bool]  # states of both; whether text was read; whether none may follow


def _way(came: dict[Pair, tuple[Pair, str] | None], here: Pair) -> str:
    read = []
    step = came[here]
    while step is not None:
        here, text = step
        read.append(text)
        step = came[here]
    return "".join(reversed(read))


def _steps(one: Automaton, other: Automaton, here: Pair) -> Iterator[tuple[Pair, str]]:
    a, b, begun, over = here
    left, right = one.states[a], other.states[b]
    if left.on is None:
        for then, ends in _free(left, begun):
            yield (then, b, begun, over or ends), ""
    if right.on is None:
        for then, ends in _free(right, begun):
            yield (a, then, begun, over or ends), ""
    if left.on is not None and right.on is not None and not over:
        chosen = _shared(left.on, right.on)
        if chosen is not None:
            for then in left.then:
                for also in right.then:
                    yield (then, also, True, False), chr(chosen)


def _free(state: _State, begun: bool) -> Iterator[tuple[int, bool]]:
    """Steps that read nothing, and whether the text has to be over after them."""
    if state.assertion == "begin" and begun:
        return
    for then in state.then:
        yield then, state.assertion == "end"


def _shared(one: Ranges, other: Ranges) -> int | None:
    """A character of both, one that people can read if there is one."""
    found = [(max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) <= min(b, d)]
    for low, high in ((97, 122), (65, 90), (48, 57), (33, 126)):
        for a, b in found:
            if max(a, low) <= min(b, high):
                return max(a, low)
    found = [(a, b) for a, b in found if not (a >= 0xD800 and b <= 0xDFFF)]
    return next((a if not 0xD800 <= a <= 0xDFFF else 0xE000 for a, b in found), None)


@dataclass(frozen=True)
class _Flags:
    fold: bool = False
    lines: bool = False
    dot_all: bool = False


@dataclass(frozen=True)
class _Piece:
    """A part of the automaton, from one state to another."""

    start: int
    end: int


class _Builder:
    """Reads a pattern once, and lays down states as it goes."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._states: list[_State] = []
        self._depth = 0

    def automaton(self) -> Automaton:
        inner, _ = self._alternatives(_Flags())
        if self._at < len(self._text):
            raise UndecidedError("a bracket too many")
        before, after = self._any_text(), self._any_text()
        whole = self._joined([before, inner, after])
        return Automaton(self._states, whole.start, whole.end)

    # ---- grammar

    def _alternatives(self, flags: _Flags) -> tuple[_Piece, _Flags]:
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
        return (branches[0] if len(branches) == 1 else self._either(branches)), flags

    def _sequence(self, flags: _Flags) -> tuple[_Piece, _Flags]:
        pieces: list[_Piece] = []
        while self._at < len(self._text) and self._peek() not in ("|", ")"):
            piece, flags = self._atom(flags)
            pieces.append(self._repeated(piece))
        return self._joined(pieces), flags

    def _atom(self, flags: _Flags) -> tuple[_Piece, _Flags]:
        char = self._next()
        if char == "(":
            return self._group(flags)
        if char == "[":
            return self._reads(self._class(flags)), flags
        if char == ".":
            return self._reads(ANY if flags.dot_all else _NO_LINE_END), flags
        if char == "^":
            return self._asserts("" if flags.lines else "begin"), flags
        if char == "$":
            return self._asserts("" if flags.lines else "end"), flags
        if char == "\\":
            return self._escape(flags), flags
        if char in "*+?":
            raise UndecidedError("nothing to repeat")
        return self._reads(_one(ord(char), flags)), flags

    def _group(self, flags: _Flags) -> tuple[_Piece, _Flags]:
        inner_flags = flags
        if self._peek() == "?":
            self._at += 1
            if self._peek() in ("P", "<"):
                self._name()
            else:
                inner_flags, ended = self._set_flags(flags)
                if ended:
                    return self._joined([]), inner_flags
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

    def _repeated(self, piece: _Piece) -> _Piece:
        while True:
            char = self._peek()
            if char in ("*", "+", "?"):
                self._at += 1
                least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
                piece = self._times(piece, least, most)
            elif char == "{" and (counts := self._counts()):
                piece = self._times(piece, *counts)
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

    def _times(self, piece: _Piece, least: int, most: int | None) -> _Piece:
        """As many copies as there may be: a state belongs to one place."""
        copies = max(least, 1) if most is None else most
        pieces = [piece] if copies else []
        for _ in range(copies - 1):
            pieces.append(self._copy(piece))
        made = [
            each if index < least else self._optional(each) for index, each in enumerate(pieces)
        ]
        if most is None:
            made[-1] = self._loop(pieces[-1], at_least_once=least > 0)
        return self._joined(made)

    # ---- escapes and classes

    def _escape(self, flags: _Flags) -> _Piece:
        char = self._next()
        if char in "AzbB":
            return self._asserts({"A": "begin", "z": "end"}.get(char, ""))
        if char == "Q":
            end = self._text.find("\\E", self._at)
            quoted = self._text[self._at : end if end >= 0 else len(self._text)]
            self._at = len(self._text) if end < 0 else end + 2
            return self._joined([self._reads(_one(ord(each), flags)) for each in quoted])
        self._at -= 1
        return self._reads(self._escaped(flags))

    def _escaped(self, flags: _Flags) -> Ranges:
        """What an escape stands for, inside a class or not."""
        char = self._next()
        if char.lower() in _CLASSES:
            ranges = _CLASSES[char.lower()]
            return ranges if char.islower() else _without(ranges)
        if char in "pP":
            self._property()
            return ANY
        if char in _CONTROLS:
            return _one(_CONTROLS[char], flags)
        if char == "x":
            return _one(self._hexadecimal(), flags)
        if char in "01234567":
            return _one(self._octal(char), flags)
        if char.isalnum():
            raise UndecidedError(f"an unknown escape {char!r}")
        return _one(ord(char), flags)

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
            return min(int(digits, 16), _LAST)
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
        return _without(tuple(ranges)) if negated else _merged(ranges)

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
            return _folded(((low, high),)) if flags.fold else ((low, high),)
        return _one(low, flags)

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
        found = _NAMED.get(name.removeprefix("^"))
        if end < 0 or found is None:
            raise UndecidedError("an unknown class")
        return _without(found) if name.startswith("^") else found

    # ---- states

    def _peek(self) -> str | None:
        return self._text[self._at] if self._at < len(self._text) else None

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise UndecidedError("ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _new(self, state: _State | None = None) -> int:
        if len(self._states) >= MAX_STATES:
            raise UndecidedError("too many states")
        self._states.append(state or _State())
        return len(self._states) - 1

    def _reads(self, ranges: Ranges) -> _Piece:
        end = self._new()
        return _Piece(self._new(_State([end], ranges)), end)

    def _asserts(self, what: str) -> _Piece:
        end = self._new()
        return _Piece(self._new(_State([end], None, what)), end)

    def _any_text(self) -> _Piece:
        return self._loop(self._reads(ANY), at_least_once=False)

    def _joined(self, pieces: Sequence[_Piece]) -> _Piece:
        start = end = self._new()
        for piece in pieces:
            self._states[end].then.append(piece.start)
            end = piece.end
        return _Piece(start, end)

    def _either(self, pieces: Sequence[_Piece]) -> _Piece:
        end = self._new()
        for piece in pieces:
            self._states[piece.end].then.append(end)
        return _Piece(self._new(_State([piece.start for piece in pieces])), end)

    def _optional(self, piece: _Piece) -> _Piece:
        end = self._new()
        self._states[piece.end].then.append(end)
        return _Piece(self._new(_State([piece.start, end])), end)

    def _loop(self, piece: _Piece, *, at_least_once: bool) -> _Piece:
        end = self._new()
        again = self._new(_State([piece.start, end]))
        self._states[piece.end].then.append(again)
        return _Piece(piece.start if at_least_once else again, end)

    def _copy(self, piece: _Piece) -> _Piece:
        """The same part once more; its states are those laid down between its ends."""
        reached = sorted(self._reached(piece))
        moved = {old: self._new() for old in reached}
        for old in reached:
            state = self._states[old]
            inside = [moved[then] for then in state.then if then in moved]
            self._states[moved[old]] = _State(inside, state.on, state.assertion)
        self._states[moved[piece.end]].then = []
        return _Piece(moved[piece.start], moved[piece.end])

    def _reached(self, piece: _Piece) -> set[int]:
        reached, waiting = {piece.start, piece.end}, [piece.start]
        while waiting:
            for then in self._states[waiting.pop()].then:
                if then not in reached:
                    reached.add(then)
                    waiting.append(then)
        return reached


def _one(char: int, flags: _Flags) -> Ranges:
    return _folded(((char, char),)) if flags.fold else ((char, char),)


def _folded(ranges: Ranges) -> Ranges:
    """Both cases of every ASCII letter, and of a single other character."""
    made = list(ranges)
    for low, high in ranges:
        for start, shift in ((65, 32), (97, -32)):
            a, b = max(low, start), min(high, start + 25)
            if a <= b:
                made.append((a + shift, b + shift))
        if low == high and low > 127:
            both = (chr(low).lower(), chr(low).upper())
            made += [(ord(each), ord(each)) for each in both if len(each) == 1]
    return _merged(made)


def _merged(ranges: Sequence[tuple[int, int]]) -> Ranges:
    made: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], high))
        else:
            made.append((low, high))
    return tuple(made)


def _without(ranges: Ranges) -> Ranges:
    made, at = [], 0
    for low, high in _merged(ranges):
        if at < low:
            made.append((at, low - 1))
        at = high + 1
    if at <= _LAST:
        made.append((at, _LAST))
    return tuple(made)
