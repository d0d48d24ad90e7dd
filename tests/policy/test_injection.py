"""A policy goes into its file, and every byte around it stays."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError
from sealserve.policy.execution.deployments import json_places, pod, yaml_reader
from sealserve.policy.execution.deployments.pod_injection import into_pods
from sealserve.policy.execution.deployments.template_injection import into_template
from sealserve.policy.execution.generate import Generated
from sealserve.policy.execution.profile import named
from sealserve.policy.execution.wanted import Group
from support.policy_generation import unhurried

TEXT = b"package policy"
POLICY = base64.b64encode(TEXT).decode()
FIRST = ("resources", 0)


def policy(*path: str | int) -> Generated:
    return Generated(Group("one", (), path=path), named("aci-2025"), TEXT)


def into(text: str) -> str:
    return into_template(text, [policy(*FIRST)])


# ---- templates: `@` stands for the policy

TEMPLATES = {
    "on one line": (
        '{"resources": [{"properties": {"a": 1}}]}',
        '{"resources": [{"properties": {"a": 1, '
        '"confidentialComputeProperties": {"ccePolicy": "@"}}}]}',
    ),
    "on lines of their own, tabs, CRLF and a comment": (
        '{\r\n\t"resources": [{\r\n\t\t"Properties": {\r\n\t\t\t"a": 1 // why\r\n\t\t}'
        "\r\n\t}]\r\n}",
        '{\r\n\t"resources": [{\r\n\t\t"Properties": {\r\n\t\t\t"a": 1,\r\n\t\t\t'
        '"confidentialComputeProperties": {\r\n\t\t\t\t"ccePolicy": "@"\r\n\t\t\t} // why\r\n\t\t}'
        "\r\n\t}]\r\n}",
    ),
    "an empty policy": (
        '{"resources": [{"properties": {"confidentialComputeProperties":{ "ccePolicy" :"" }}}]}',
        '{"resources": [{"properties": {"confidentialComputeProperties":{ "ccePolicy" :"@" }}}]}',
    ),
    "an old policy in another spelling": (
        '{"resources": [{"properties": {"ConfidentialComputeProperties": {"CCEPolicy": "eA==",'
        '"isolationType": "SevSnp"}}}]}',
        '{"resources": [{"properties": {"ConfidentialComputeProperties": {"CCEPolicy": "@",'
        '"isolationType": "SevSnp"}}}]}',
    ),
    "a member beside it": (
        '{"resources": [{"properties": {"confidentialComputeProperties": {"isolationType": "S"'
        "}}}]}",
        '{"resources": [{"properties": {"confidentialComputeProperties": {"isolationType": "S", '
        '"ccePolicy": "@"}}}]}',
    ),
    "nothing in its place": (
        '{"resources": [{"properties": {"confidentialComputeProperties": null, "z": "\\u007b"}}]}',
        '{"resources": [{"properties": {"confidentialComputeProperties": {"ccePolicy": "@"}, '
        '"z": "\\u007b"}}]}',
    ),
    "comments with brackets and quotes": (
        '/* {"x": */ {"resources": [ // [ "\n{"properties": {"a": "// no", "b": [1.50, 2e3]}}]}',
        '/* {"x": */ {"resources": [ // [ "\n{"properties": {"a": "// no", "b": [1.50, 2e3], '
        '"confidentialComputeProperties": {"ccePolicy": "@"}}}]}',
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_into_a_template(name: str) -> None:
    before, after = TEMPLATES[name]
    assert into(before) == after.replace("@", POLICY)


def test_what_was_put_in_is_replaced_the_next_time() -> None:
    before, _ = TEMPLATES["on one line"]
    assert into(into(before)) == into(before)


def test_into_groups_of_either_kind_of_list() -> None:
    named_ = '{"resources": {"a": {"properties": {"x": 1}}, "b": {"properties": {"x": 2}}}}'
    changed = json.loads(into_template(named_, [policy("resources", "b")]))
    assert changed["resources"]["a"] == {"properties": {"x": 1}}
    assert changed["resources"]["b"]["properties"]["confidentialComputeProperties"] == {
        "ccePolicy": POLICY
    }


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@unhurried
@given(
    st.dictionaries(st.text(max_size=6), values, min_size=1, max_size=4),
    st.sampled_from([None, 0, 1, 2, 4, "\t"]),
    st.booleans(),
)
def test_every_other_byte_stays(
    members: dict[str, Any], indent: int | str | None, ascii_: bool
) -> None:
    members.pop("confidentialComputeProperties", None)
    document = {"resources": [{"properties": {"first": 1, **members}, "name": "x"}], "z": 1}
    before = json.dumps(document, indent=indent, ensure_ascii=ascii_)
    after = into(before)
    added = after.index('"confidentialComputeProperties"')
    common = next(
        (at for at, pair in enumerate(zip(before, after, strict=False)) if len({*pair}) > 1), 0
    )
    assert common <= added
    rest = len(before) - common
    assert after.endswith(before[common:]) or rest == 0
    document["resources"][0]["properties"]["confidentialComputeProperties"] = {  # type: ignore[index]
        "ccePolicy": POLICY
    }
    assert json.loads(after) == document
    if indent not in (None, 0):
        assert after == json.dumps(document, indent=indent, ensure_ascii=ascii_)


# ---- reading templates

UNREADABLE = {
    "no JSON": ("{", "Expecting", 1),
    "on the third line": ('{\n"a": 1,\n"b"}', "Expecting", 3),
    "a comment without an end": ("{ /* }", "Expecting", 1),
    "a key twice": ('{"a": 1, "a": 2}', "appears twice", 0),
    "too deep": ("[" * 65 + "]" * 65, "nested deeper", 0),
    "half a character": ('"\\ud800"', "surrogates", 0),
    "a number that is none": ("NaN", "not a number", 0),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_template_that_cannot_be_read(name: str) -> None:
    text, words, line = UNREADABLE[name]
    with pytest.raises(ConfigError, match=words) as refused:
        json_places.loads(text, file="t.json")
    assert (refused.value.file, refused.value.line) == ("t.json", line)
    assert refused.value.hint


def test_a_template_has_a_limit() -> None:
    with pytest.raises(ConfigError, match="characters; at most"):
        json_places.loads(" " * (json_places.MAX_TEMPLATE_BYTES + 1))


@unhurried
@given(values)
def test_places_are_those_of_the_values(value: object) -> None:
    text = json.dumps(value, indent=1)
    require_places(text, json_places.places(text), value)


def require_places(text: str, place: json_places.Place, value: object) -> None:
    assert json.loads(text[place.start : place.end]) == value
    if isinstance(value, dict):
        assert place.members.keys() == value.keys()
        for key, member in value.items():
            assert text[place.keys[key]] == '"'
            require_places(text, place.members[key], member)
    if isinstance(value, list):
        for inner, item in zip(place.items, value, strict=True):
            require_places(text, inner, item)


# ---- pods: `@` stands for annotation and policy

SPEC = "spec: {containers: [1]}\n"
PODS = {
    "without metadata": (
        f"kind: Pod\n{SPEC}",
        f"metadata:\n  annotations:\n    @\nkind: Pod\n{SPEC}",
    ),
    "without annotations": (
        f"# why\nkind: Pod\nmetadata:\n  name: x # here\n{SPEC}",
        f"# why\nkind: Pod\nmetadata:\n  annotations:\n    @\n  name: x # here\n{SPEC}",
    ),
    "among annotations": (
        f"kind: Pod\nmetadata:\n    annotations:\n        a: 'b'\n{SPEC}",
        f"kind: Pod\nmetadata:\n    annotations:\n        @\n        a: 'b'\n{SPEC}",
    ),
    "in one line": (
        f"kind: Pod\nmetadata: {{ name: x }}\n{SPEC}",
        f"kind: Pod\nmetadata: {{annotations: {{@}},  name: x }}\n{SPEC}",
    ),
    "all in one line": (
        "{kind: Pod, spec: {containers: [1]}}\n",
        "{metadata: {annotations: {@}}, kind: Pod, spec: {containers: [1]}}\n",
    ),
    "in place of nothing": (
        f"kind: Pod\nmetadata:\n  annotations:\n  name: x\n{SPEC}",
        f"kind: Pod\nmetadata:\n  annotations:\n    @\n  name: x\n{SPEC}",
    ),
    "in place of an empty object": (
        f"kind: Pod\nmetadata:\n  annotations: {{}}\n  name: x\n{SPEC}",
        f"kind: Pod\nmetadata:\n  annotations:\n    @\n  name: x\n{SPEC}",
    ),
    "in place of the old one": (
        f"kind: Pod\nmetadata:\n  annotations:\n    {pod.ANNOTATION}: eA== # old\n{SPEC}",
        f"kind: Pod\nmetadata:\n  annotations:\n    @ # old\n{SPEC}",
    ),
    "in place of an old block": (
        f"kind: Pod\nmetadata:\n  annotations:\n    {pod.ANNOTATION}: |\n"
        f"      eA=\n      =\n{SPEC}",
        f"kind: Pod\nmetadata:\n  annotations:\n    @\n{SPEC}",
    ),
    "in a template, behind another document, CRLF": (
        "kind: Service\r\n---\r\nkind: Job\r\nspec:\r\n  template:\r\n    spec:\r\n"
        "      containers: [1]\r\n",
        "kind: Service\r\n---\r\nkind: Job\r\nspec:\r\n  template:\r\n    metadata:\r\n"
        "      annotations:\r\n        @\r\n    spec:\r\n      containers: [1]\r\n",
    ),
}


@pytest.mark.parametrize("name", PODS)
def test_into_a_pod(name: str) -> None:
    before, after = PODS[name]
    changed = into_pods(before, [of_pod(before)])
    assert changed == after.replace("@", f"{pod.ANNOTATION}: {POLICY}")
    assert [*yaml.safe_load_all(changed)]


def of_pod(text: str) -> Generated:
    documents = [each.value for each in yaml_reader.read_documents(text)]
    at = next(at for at, each in enumerate(documents) if each["kind"] in pod.KINDS)  # type: ignore[index]
    return policy(at, *(pod.pod_path(documents[at]) or ()))


# ---- reading pods

ODD = {
    "no YAML": ("a: [", "not YAML", 1),
    "a tab": ("a:\n\t- b", "not YAML", 2),
    "control characters": ("a: \x07", "not YAML", 0),
    "an alias": ("a: &x 1\nb: *x", "an alias", 2),
    "a key twice": ("a: 1\na: 2", "appears twice", 2),
    "a key that is a list": ("? [a]\n: 1", "a key that is not text", 1),
    "keys merged in": ("<<: {a: 1}", "a key that is not text", 1),
    "too deep": ("[" * 60, "nested deeper", 1),
    "too many": ("- 1\n" * 20_001, "more than 20000", 20_000),
    "too long": ("a" * (yaml_reader.MAX_YAML_BYTES + 1), "longer than", 0),
    "a number beyond all": ("a: " + "9" * 5000, "not a value", 1),
    "a number without digits": ("a: !!int ''", "not a value", 1),
    "a truth value that is none": ("a: !!bool x", "not a value", 1),
}


@pytest.mark.parametrize("name", ODD)
def test_yaml_that_is_not_read(name: str) -> None:
    text, words, line = ODD[name]
    with pytest.raises(ConfigError, match=words) as refused:
        yaml_reader.read_documents(text, file="p.yaml")
    assert (refused.value.file, refused.value.line) == ("p.yaml", line)
    assert refused.value.hint


def test_scalars_are_read_as_confcom_reads_them_and_the_rest_as_text() -> None:
    text = "a: 1\nb: yes\nc: 1.5\nd: null\ne: 2020-01-01\nf: '1'\ng: ~\n1: x\nh: !x y\n"
    (document,) = yaml_reader.read_documents(text)
    assert document.value == {
        **{"a": 1, "b": True, "c": 1.5, "d": None, "e": "2020-01-01", "f": "1", "g": None},
        **{"1": "x", "h": "y"},
    }


def test_empty_documents_hold_nothing() -> None:
    assert yaml_reader.read_documents("# nothing\n") == []
    assert [each.value for each in yaml_reader.read_documents("---\n---\na: 1\n")] == [
        None,
        {"a": 1},
    ]
