"""JSON with one reading: what is refused, and that no text takes more than one pass."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.policy import strict_json

REFUSED = {
    "a member twice": '{"a": 1, "a": 2}',
    "a member twice inside": '[{"a": {"b": 1, "b": 1}}]',
    "NaN": "NaN",
    "Infinity": "[Infinity]",
    "a number beyond doubles": "1e999",
    "half a character": '"\\ud800"',
    "nothing": "",
    "two values": "1 2",
    "a tail": "{} ,",
    "single quotes": "{'a': 1}",
    "an open string": '{"a',
    "an open escape": '"\\',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_each_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its words are the parser's
        strict_json.loads(text)


def test_nesting_is_counted_before_anything_is_parsed() -> None:
    assert strict_json.loads("[" * 32 + "]" * 32)
    with pytest.raises(ValueError, match="nested deeper than 32 levels"):
        strict_json.loads("[" * 33 + "]" * 33)
    with pytest.raises(ValueError, match="nested deeper"):
        strict_json.loads("[" * 100_000)


def test_brackets_inside_strings_do_not_count() -> None:
    assert strict_json.loads(json.dumps("[{" * 1000)) == "[{" * 1000
    assert strict_json.loads(json.dumps('\\"[' * 1000)) == '\\"[' * 1000


# With a pattern that backtracks, a quarter of this takes more than a minute.
ENDLESS = {
    "quotes escaped for ever": '"' + '\\"' * 1_000_000,
    "an escape at the end": '"' + '\\"' * 1_000_000 + "\\",
    "quotes": '"' * 1_000_001,
    "backslashes": '"' + "\\" * 1_000_001,
}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_one_pass_is_enough_for_any_text(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what counts is that it comes
        strict_json.loads(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=20,
    )
)
def test_what_json_writes_is_read(value: object) -> None:
    assert strict_json.loads(json.dumps(value)) == value


@given(st.text(max_size=60))
def test_any_text_is_read_as_json_reads_it_or_refused(text: str) -> None:
    try:
        value = strict_json.loads(text)
    except ValueError:
        return
    assert value == json.loads(text)
