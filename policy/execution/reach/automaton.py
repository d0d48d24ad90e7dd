"""Whether some text is accepted by two automata at once, found without trying texts.

The product of both is searched for a way to the end, the shortest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sealserve.policy.execution.reach.characters import Ranges, shared

MAX_STATES = 2000  # a pattern that people write has a hundred
MAX_PAIRS = 50_000  # pairs of states that one search may look at: a fraction of a second


class UndecidedError(ValueError):
    """A pattern too large, or of a syntax that this does not know."""


@dataclass
class State:
    """Where a search can be. on: what is read to get to `then`; assertion: what has to be true."""

    then: list[int] = field(default_factory=list)
    on: Ranges | None = None
    assertion: str = ""


@dataclass(frozen=True)
class Automaton:
    """Text from its beginning to its end. start, end: indices of states."""

    states: Sequence[State]
    start: int
    end: int


def exactly(text: str) -> Automaton:
    """This text and no other. Raises UndecidedError for a very long one."""
    if len(text) >= MAX_STATES:
        raise UndecidedError("a long text")
    states = [State([index + 1], ((ord(char), ord(char)),)) for index, char in enumerate(text)]
    return Automaton([*states, State()], 0, len(text))


Pair = tuple[int, int, bool, bool]  # states of both; whether text was read; whether none may follow


def common(one: Automaton, other: Automaton) -> str | None:
    """A text of both, a short one; None if there is none. Raises UndecidedError."""
    begin: Pair = (one.start, other.start, False, False)
    came: dict[Pair, tuple[Pair, str] | None] = {begin: None}
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
        chosen = shared(left.on, right.on)
        if chosen is not None:
            for then in left.then:
                for also in right.then:
                    yield (then, also, True, False), chr(chosen)


def _free(state: State, begun: bool) -> Iterator[tuple[int, bool]]:
    """Steps that read nothing, and whether the text has to be over after them."""
    if state.assertion == "begin" and begun:
        return
    for then in state.then:
        yield then, state.assertion == "end"
