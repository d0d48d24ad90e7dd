"""Rego as far as it is data: every layout in use is read, and no program is taken for data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import rego, text
from sealserve.policy.execution.rego import Binding, Parameter

VECTORS = Path(__file__).parent.parent / "vectors" / "policy"
# Of several groups the tool prints one policy after another, into one file.
POLICIES = sorted(p for p in VECTORS.rglob("*.rego") if "multi_container_groups" not in p.parts)
HEAD = "package policy\n"


def value(written: str) -> object:
    return rego.parse(f"{HEAD}x := {written}\n".encode()).rules["x"].value


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: str(path.relative_to(VECTORS)))
def test_every_layout_is_read(path: Path) -> None:
    module = rego.parse(path.read_bytes(), file=path.name)
    assert module.package
    assert module.rules


@pytest.mark.parametrize("path", sorted(VECTORS.glob("confcom/*.rego")), ids=lambda p: p.name)
def test_confcoms_layout_says_the_same_to_both_readers(path: Path) -> None:
    data = path.read_bytes()
    rules = rego.parse(data).rules
    read = text.parse(data)
    assert rules["containers"].value == list(read.containers)
    assert rules["fragments"].value == list(read.fragments)
    assert {name: rules[name].value for name in read.flags} == read.flags
    assert rules["create_container"].value == Binding("create_container")


VALUES: dict[str, object] = {
    '"a\\u00e9\\n"': "aé\n",
    "`a\\n\nb`": "a\\n\nb",
    "true": True,
    "null": None,
    "-1.5e2": -150.0,
    "[]": [],
    "[1,]": [1],
    '{"a": [{},], `b`: false,}': {"a": [{}], "b": False},
    "[ # a remark ]\n 1 ]": [1],
    "data.framework.x": Binding("x"),
    'parameter("p")': Parameter("p"),
    "[parameter(`p`)]": [Parameter("p")],
}


@pytest.mark.parametrize("written", VALUES)
def test_values(written: str) -> None:
    assert value(written) == VALUES[written]


def test_statements_may_share_a_line_and_the_older_sign_is_read() -> None:
    rules = rego.parse(b"package p; import future.keywords.in; import rego.v1\na = 1; b := 2").rules
    assert {name: rule.value for name, rule in rules.items()} == {"a": 1, "b": 2}
    assert [rule.line for rule in rules.values()] == [2, 2]


PROGRAMS = {
    "a body": "mount_device { input.x }",
    "a body after a value": "mount_device := true { input.x }",
    "if": "allow if input.x",
    "a default": "default allow := false",
    "a function": "f(x) := x",
    "a reference to the request": "x := input.x",
    "a reference to state": "x := data.metadata.devices",
    "an index": "x := data.framework.y[0]",
    "another function": 'x := concat("", ["a"])',
    "an operator": "x := 1 + 2",
    "a set": 'x := {"a", "b"}',
    "a comprehension": "x := [y | y := 1]",
    "part of a set": "errors[x] := 1",
    "a member of a rule": "a.b := 1",
    "an import": "import data.other",
    "a name as a member": "x := {a: 1}",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_refused_with_their_line(name: str) -> None:
    with pytest.raises(rego.OwnRulesError) as caught:
        rego.parse(f"{HEAD}\n{PROGRAMS[name]}\n".encode(), file="p.rego")
    assert (caught.value.file, caught.value.line) == ("p.rego", 3)
    assert "rules of one's own" in caught.value.hint


MALFORMED = {
    "nothing": b"",
    "no package": b"x := 1",
    "no name": b"package",
    "bytes": b'package p\nx := "\xff"',
    "open text": b'package p\nx := "a',
    "open raw text": b"package p\nx := `a",
    "an open list": b"package p\nx := [1",
    "an open object": b'package p\nx := {"a": 1',
    "no value": b"package p\nx :=",
    "two commas": b"package p\nx := [1,,2]",
    "a comma first": b"package p\nx := [,]",
    "the wrong bracket": b"package p\nx := [1}",
    "a member twice": b'package p\nx := {"a": 1, "a": 1}',
    "a rule twice": b"package p\nx := 1\nx := 1",
    "a leading zero": b"package p\nx := 01",
    "a number too long": b"package p\nx := " + b"9" * 33,
    "a number too large": b"package p\nx := 1e999",
    "half a character": b'package p\nx := "\\ud800"',
    "an unknown escape": b'package p\nx := "\\x"',
    "too deep": b"package p\nx := " + b"[" * 40 + b"]" * 40,
    "two statements on a line": b"package p\nx := 1 y := 2",
    "an import and more": b"package p\nimport rego.v1 x := 1",
    "a parameter without a name": b"package p\nx := parameter(1)",
    "a word": b"package p\nx := undefined",
    "too long": b"package p\n#" + b"x" * rego.MAX_MODULE_BYTES,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rego.parse(MALFORMED[name])
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(JSON, st.sampled_from([None, 2]))
def test_all_of_json_is_data(given_value: object, indent: int | None) -> None:
    assert value(json.dumps(given_value, indent=indent)) == given_value
