"""What parsers of evidence are put through: one refusal at a time, and bytes nobody planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import strategies as st

from sealserve.errors import EvidenceError

Edits = list[tuple[int, bytes]]


@contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[EvidenceError]]:
    """Inside, exactly the check with this code refuses, and says what it compared with what."""
    with pytest.raises(EvidenceError) as refusal:
        yield refusal
    assert refusal.value.code == code, str(refusal.value)
    assert refusal.value.seen, str(refusal.value)
    assert refusal.value.wanted, str(refusal.value)


def code_of(work: Callable[[], object]) -> str:
    """The code this is refused with, empty if it is not. Any other exception passes through."""
    try:
        work()
    except EvidenceError as error:
        return error.code
    return ""


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """These bytes with stretches overwritten, put in or cut out, and the end somewhere else."""
    places = st.integers(0, len(data))
    overwritten = st.lists(st.tuples(places, st.binary(min_size=1, max_size=4)), max_size=4)
    return st.one_of(
        overwritten.map(lambda edits: _overwrite(data, edits)),
        st.tuples(places, st.binary(max_size=8)).map(lambda e: data[: e[0]] + e[1] + data[e[0] :]),
        st.tuples(places, places).map(lambda cut: data[: min(cut)] + data[max(cut) :]),
    )


def _overwrite(data: bytes, edits: Edits) -> bytes:
    changed = bytearray(data)
    for place, value in edits:
        changed[place : place + len(value)] = value[: max(0, len(data) - place)]
    return bytes(changed)
