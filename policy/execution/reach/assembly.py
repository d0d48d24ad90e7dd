"""Laying down the states of an automaton, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sealserve.policy.execution.reach.automaton import (
    MAX_STATES,
    Automaton,
    State,
    UndecidedError,
)
from sealserve.policy.execution.reach.characters import ANY, Ranges


@dataclass(frozen=True)
class Piece:
    """A part of the automaton, from one state to another."""

    start: int
    end: int


class Assembly:
    """The states so far; a part that is joined to another belongs to it alone."""

    def __init__(self) -> None:
        self._states: list[State] = []

    def found_anywhere(self, piece: Piece) -> Automaton:
        """The texts that have the piece in them somewhere."""
        before, after = (self.repeated(self.reads(ANY), 0, None) for _ in range(2))
        whole = self.joined([before, piece, after])
        return Automaton(self._states, whole.start, whole.end)

    def reads(self, ranges: Ranges) -> Piece:
        """One character of these."""
        end = self._new()
        return Piece(self._new(State([end], ranges)), end)

    def asserts(self, what: str) -> Piece:
        """Nothing, where `what` holds: begin, end, or "" for what is not looked at."""
        end = self._new()
        return Piece(self._new(State([end], None, what)), end)

    def joined(self, pieces: Sequence[Piece]) -> Piece:
        """One after the other; nothing at all matches the empty text."""
        start = end = self._new()
        for piece in pieces:
            self._states[end].then.append(piece.start)
            end = piece.end
        return Piece(start, end)

    def either(self, pieces: Sequence[Piece]) -> Piece:
        """One of them."""
        end = self._new()
        for piece in pieces:
            self._states[piece.end].then.append(end)
        return Piece(self._new(State([piece.start for piece in pieces])), end)

    def repeated(self, piece: Piece, least: int, most: int | None) -> Piece:
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
        return self.joined(made)

    def _new(self, state: State | None = None) -> int:
        if len(self._states) >= MAX_STATES:
            raise UndecidedError("too many states")
        self._states.append(state or State())
        return len(self._states) - 1

    def _optional(self, piece: Piece) -> Piece:
        end = self._new()
        self._states[piece.end].then.append(end)
        return Piece(self._new(State([piece.start, end])), end)

    def _loop(self, piece: Piece, *, at_least_once: bool) -> Piece:
        end = self._new()
        again = self._new(State([piece.start, end]))
        self._states[piece.end].then.append(again)
        return Piece(piece.start if at_least_once else again, end)

    def _copy(self, piece: Piece) -> Piece:
        """The same part once more; its states are those laid down between its ends."""
        reached = sorted(self._reached(piece))
        moved = {old: self._new() for old in reached}
        for old in reached:
            state = self._states[old]
            inside = [moved[then] for then in state.then if then in moved]
            self._states[moved[old]] = State(inside, state.on, state.assertion)
        self._states[moved[piece.end]].then = []
        return Piece(moved[piece.start], moved[piece.end])

    def _reached(self, piece: Piece) -> set[int]:
        reached, waiting = {piece.start, piece.end}, [piece.start]
        while waiting:
            for then in self._states[waiting.pop()].then:
                if then not in reached:
                    reached.add(then)
                    waiting.append(then)
        return reached
