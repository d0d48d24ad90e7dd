"""Lines of keys: found for everything `tomllib` accepts."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.policy.toml_places import Places, spell

TEXT = '''# a comment = 1
top = "a # no comment" # one
[first]
inner.deep = [ # begins here
  "]",
  { x = 1 }, # { not open
]
text = """
[not.a.header]
"quotes" ""inside\\""" """
literal = \'\'\'
key = 'x'
\'\'\'
last = 1

  [ "quoted name" . second ]
"a.b" = {c = {d = 1}}
[[list]]
y = 1
[[list]]
z = 2'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("first",), 3),
        (("first", "inner"), 4),
        (("first", "inner", "deep"), 4),
        (("first", "inner", "deep", 1, "x"), 4),
        (("first", "text"), 8),
        (("first", "literal"), 11),
        (("first", "last"), 14),
        (("quoted name",), 16),
        (("quoted name", "second"), 16),
        (("quoted name", "second", "a.b", "c", "d"), 17),
        (("first", "missing"), 3),
        (("missing",), 1),
        ((), 1),
    ],
)
def test_a_key_has_its_line_and_a_missing_one_that_of_its_section(
    path: tuple[str | int, ...], line: int
) -> None:
    assert Places.of(TEXT).line(path) == line


def test_the_text_is_toml() -> None:
    assert tomllib.loads(TEXT)["first"]["last"] == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [((), ""), (("a",), "a"), (("a", "b", 0, "c"), "a.b[0].c"), (("a", 1, 2), "a[1][2]")],
)
def test_paths_are_spelled_as_people_write_them(path: tuple[str | int, ...], text: str) -> None:
    assert spell(path) == text


PIECES = st.sampled_from(
    ['"""', "'''", '"', "'", "\\", "[", "]", "{", "}", "#", "\n", "=", "a", "b.c", " ", ",", "1"]
)


@given(st.lists(PIECES, max_size=25).map("".join))
def test_whatever_is_toml_has_places(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    places = Places.of(text)
    for key in values:
        assert (key,) in places.lines


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["\n", "# '\"[\n", ""]),
            st.sampled_from(
                [
                    "1",
                    "[1,\n2]",
                    "{ a = 1 }",
                    '"]"',
                    "'\"'",
                    '"""\n]"\n"""',
                    "'''\n[x]\n'''",
                    '"\\""',
                ]
            ),
        ),
        max_size=8,
    )
)
def test_every_statement_has_the_line_it_begins_on(statements: list[tuple[str, str]]) -> None:
    text, lines = "", {}
    for index, (before, value) in enumerate(statements):
        text += before
        lines[f"k{index}"] = text.count("\n") + 1
        text += f"k{index} = {value}\n"
    assert {key: Places.of(text).line((key,)) for key in lines} == lines
