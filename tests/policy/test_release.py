"""Release policies: Azure's grammar, strictly read and exactly evaluated."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError, ReleaseError
from sealserve.policy.release import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_POLICY_BYTES,
    Authority,
    Equals,
    ReleasePolicy,
)
from sealserve.policy.release_build import build
from support.policy_release import JSON, claim

VECTORS = Path(__file__).parent.parent / "vectors" / "policy" / "release"
ISSUER = "https://trust.example:8700/simulated"
HOST_DATA = "5a" * 32
CLAIMS: Mapping[str, object] = {
    "iss": ISSUER,
    "x-ms-attestation-type": "sevsnpvm",
    "x-ms-compliance-status": "sealserve-simulated",
    "x-ms-sevsnpvm-hostdata": HOST_DATA,
    "x-ms-sevsnpvm-is-debuggable": False,
    "x-ms-sevsnpvm-vmpl": 0,
}


def policy(*conditions: object, operator: str = "allOf", authority: str = ISSUER) -> ReleasePolicy:
    block = {"authority": authority, operator: list(conditions)}
    return ReleasePolicy.parse(json.dumps({"version": "1.0.0", "anyOf": [block]}).encode())


def denied(tested: ReleasePolicy, claims: Mapping[str, object]) -> ReleaseError:
    with pytest.raises(ReleaseError) as caught:
        tested.evaluate(claims)
    return caught.value


@pytest.mark.parametrize("name", ["aci-sidecar", "aks-kata", "cleanroom", "cvm-nested"])
def test_published_policies_are_read(name: str) -> None:
    parsed = ReleasePolicy.parse((VECTORS / f"{name}.json").read_bytes())
    (entry,) = parsed.authorities
    assert entry.authority.startswith("https://shared")


def test_a_real_token_meets_a_policy_written_for_it() -> None:
    token = json.loads((VECTORS / "token-aci.decoded.json").read_text())["payload"]
    tested = ReleasePolicy.parse(
        build(token["iss"], token["x-ms-sevsnpvm-hostdata"], simulated=False)
    )
    tested.evaluate(token)
    aci = json.loads((VECTORS / "aci-sidecar.json").read_text())
    aci["anyOf"][0]["authority"] = token["iss"]
    refused = denied(ReleasePolicy.parse(json.dumps(aci).encode()), token)
    assert refused.denied.startswith("x-ms-sevsnpvm-hostdata")


def test_nested_claims_of_a_real_confidential_vm_token() -> None:
    token = json.loads((VECTORS / "token-azurevm-cvm.sample.json").read_text())
    data = json.loads((VECTORS / "cvm-nested.json").read_text())
    assert denied(ReleasePolicy.parse(json.dumps(data).encode()), token).denied.startswith(
        "authority"
    )
    data["anyOf"][0]["authority"] = token["iss"] + "/"
    ReleasePolicy.parse(json.dumps(data).encode()).evaluate(token)


@pytest.mark.parametrize("key", sorted(CLAIMS))
def test_each_clause_alone_refuses_with_both_sides(key: str) -> None:
    built = ReleasePolicy.parse(build(ISSUER, HOST_DATA, simulated=True))
    built.evaluate(CLAIMS)
    refused = denied(built, {**CLAIMS, key: "other"})
    name = "authority" if key == "iss" else key
    wanted = CLAIMS[key] if isinstance(CLAIMS[key], str) else json.dumps(CLAIMS[key])
    assert refused.denied.startswith(f'{name}: seen "other"; wanted ')
    assert str(wanted) in refused.denied
    assert denied(built, {k: v for k, v in CLAIMS.items() if k != key}).denied.startswith(name)


def test_every_failed_clause_is_listed() -> None:
    refused = denied(
        policy(claim("a", "1"), claim("b", "2"), claim("c", "3")), {"iss": ISSUER, "b": 2}
    )
    assert refused.denied == 'a: seen nothing; wanted "1"'
    assert "c: seen nothing" in str(refused)
    assert "b: seen" not in str(refused)


def test_a_long_list_of_failed_clauses_is_cut() -> None:
    refused = denied(policy(*(claim(f"c{i}", "1") for i in range(30))), {"iss": ISSUER})
    assert "and 10 more" in str(refused)


SAME = [(True, "true"), (False, "false"), (0, "0"), (7, "7"), (-1, "-1"), ("x", "x"), (1.5, "1.5")]
DIFFERENT: list[tuple[Any, Any]] = [
    (True, 1),
    (1, True),
    (False, 0),
    (0, False),
    (True, "True"),
    ("1", True),
    (0, ""),
    (1, 1.0),
    (None, "null"),
    ([], "[]"),
    ({}, "{}"),
    (["x"], "x"),
    ("X", "x"),
    (" x", "x"),
    ("", "x"),
]


@pytest.mark.parametrize(
    ("seen", "wanted"), SAME + [(b, a) for a, b in SAME] + [(a, a) for a, _ in SAME]
)
def test_scalars_meet_as_json_text(seen: Any, wanted: Any) -> None:
    policy(claim("c", wanted)).evaluate({"iss": ISSUER, "c": seen})


@pytest.mark.parametrize(("seen", "wanted"), DIFFERENT)
def test_other_values_do_not_meet(seen: Any, wanted: Any) -> None:
    assert denied(policy(claim("c", wanted)), {"iss": ISSUER, "c": seen}).denied.startswith("c: ")


@pytest.mark.parametrize(
    ("authority", "issuer", "same"),
    [
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/", "https://a.example", True),
        ("https://a.example", "https://a.example//", False),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://A.example", False),
        ("https://a.example", "https://a.example.evil", False),
        ("https://a.example", ["https://a.example"], False),
        ("https://a.example", None, False),
    ],
)
def test_authorities_differ_in_one_trailing_slash_at_most(
    authority: str, issuer: object, same: bool
) -> None:
    tested = policy(claim("c", 1), authority=authority)
    if same:
        tested.evaluate({"iss": issuer, "c": 1})
    else:
        assert denied(tested, {"iss": issuer, "c": 1}).denied.startswith("authority")


def test_dots_walk_objects_only() -> None:
    tested = policy(claim("a.b.c", "x"))
    tested.evaluate({"iss": ISSUER, "a": {"b": {"c": "x"}}})
    for claims in (
        {"a.b.c": "x"},
        {"a": {"b.c": "x"}},
        {"a": {"b": ["x"]}},
        {"a": "b"},
        {"a": {"b": {"c": {"x": 1}}}},
    ):
        denied(tested, {"iss": ISSUER, **claims})


@pytest.mark.parametrize(
    ("a", "b", "c", "met"),
    [(1, 0, 1, True), (0, 1, 1, True), (1, 1, 1, True), (0, 0, 1, False), (1, 1, 0, False)],
)
def test_operators_nest(a: int, b: int, c: int, met: bool) -> None:
    tested = policy({"anyOf": [claim("a", 1), {"allOf": [claim("b", 1)]}]}, claim("c", 1))
    claims = {"iss": ISSUER, "a": a, "b": b, "c": c}
    if met:
        tested.evaluate(claims)
    else:
        denied(tested, claims)


def test_any_authority_suffices() -> None:
    blocks = [
        {"authority": "https://one.example", "allOf": [claim("c", 1)]},
        {"authority": ISSUER, "allOf": [claim("c", 2)]},
        {"authority": ISSUER, "anyOf": [claim("c", 3), claim("c", 4)]},
    ]
    tested = ReleasePolicy.parse(json.dumps({"version": "1.0.0", "anyOf": blocks}).encode())
    for value in (2, 3, 4):
        tested.evaluate({"iss": ISSUER, "c": value})
    tested.evaluate({"iss": "https://one.example", "c": 1})
    assert denied(tested, {"iss": ISSUER, "c": 1}).denied == "c: seen 1; wanted 2"


@pytest.mark.parametrize(
    ("seen", "wanted", "words"),
    [
        (True, "false", "c: seen true; wanted false"),
        (1, "2", "c: seen 1; wanted 2"),
        ("true", False, 'c: seen "true"; wanted "false"'),
        ("a", "b", 'c: seen "a"; wanted "b"'),
        (True, False, "c: seen true; wanted false"),
        ([], "false", 'c: seen an empty list; wanted "false"'),
    ],
)
def test_both_sides_are_quoted_alike(seen: object, wanted: object, words: str) -> None:
    assert denied(policy(claim("c", wanted)), {"iss": ISSUER, "c": seen}).denied == words


GOOD: dict[str, Any] = {
    "version": "1.0.0",
    "anyOf": [{"authority": ISSUER, "allOf": [{"claim": "a", "equals": "1"}]}],
}


def altered(path: list[object], value: object) -> bytes:
    data = copy.deepcopy(GOOD)
    place: Any = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(data).encode()


def nested(levels: int) -> bytes:
    condition: object = claim("a", 1)
    for _ in range(levels):
        condition = {"allOf": [condition]}
    return altered(["anyOf", 0, "allOf"], [condition])


BLOCK: list[object] = ["anyOf", 0]
CONDITION: list[object] = [*BLOCK, "allOf", 0]
REFUSALS = {
    "empty": b"",
    "not an object": b"[]",
    "trailing bytes": json.dumps(GOOD).encode() + b"x",
    "a trailing comma": json.dumps(GOOD).encode().replace(b"]}", b",]}"),
    "not UTF-8": json.dumps(GOOD).encode().replace(b'"a"', b'"\xff"'),
    "no version": json.dumps({"anyOf": GOOD["anyOf"]}).encode(),
    "an early version": altered(["version"], "0.2"),
    "version as a number": altered(["version"], 1.0),
    "an unknown member": altered(["extra"], 1),
    "allOf on top": json.dumps({"version": "1.0.0", "allOf": GOOD["anyOf"]}).encode(),
    "no authority block": altered(["anyOf"], []),
    "a block that is text": altered(BLOCK, "x"),
    "a block without authority": altered(BLOCK, {"allOf": [claim("a", 1)]}),
    "a block without conditions": altered(BLOCK, {"authority": ISSUER}),
    "a block with allOf and anyOf": altered([*BLOCK, "anyOf"], [{"claim": "a", "equals": "1"}]),
    "an http authority": altered([*BLOCK, "authority"], "http://a.example"),
    "an authority with a query": altered([*BLOCK, "authority"], "https://a.example/?x"),
    "an authority with a user": altered([*BLOCK, "authority"], "https://u@a.example"),
    "an authority that is a list": altered([*BLOCK, "authority"], [ISSUER]),
    "no conditions": altered([*BLOCK, "allOf"], []),
    "conditions that are an object": altered([*BLOCK, "allOf"], {}),
    "a condition that is text": altered(CONDITION, "x"),
    "an empty condition": altered(CONDITION, {}),
    "an empty inner list": altered(CONDITION, {"anyOf": []}),
    "an inner authority": altered(CONDITION, {"authority": ISSUER, "allOf": [claim("a", 1)]}),
    "an unknown operator": altered(CONDITION, {"noneOf": [claim("a", 1)]}),
    "the early spelling": altered(CONDITION, {"claim": "a", "condition": "equals", "value": "1"}),
    "a comparison with more": altered(CONDITION, {"claim": "a", "equals": 1, "allOf": []}),
    "an empty claim": altered([*CONDITION, "claim"], ""),
    "a claim with an empty part": altered([*CONDITION, "claim"], "a..b"),
    "a claim that is a number": altered([*CONDITION, "claim"], 1),
    "equals null": altered([*CONDITION, "equals"], None),
    "equals a list": altered([*CONDITION, "equals"], ["1"]),
    "equals an object": altered([*CONDITION, "equals"], {}),
    "a member twice": json.dumps(GOOD).encode().replace(b'"equals"', b'"equals": "2", "equals"'),
    "a long member twice": b'{"%s": 1, "%s": 2}' % ((b"x" * 20_000,) * 2),
    "a long member": altered(["x" * 20_000], 1),
    "a member that moves the cursor": altered(["\x1b[2J"], 1),
    "NaN": json.dumps(GOOD).encode().replace(b'"1"', b"NaN"),
    "infinity": json.dumps(GOOD).encode().replace(b'"1"', b"1e999"),
    "nested one level too deep": nested((MAX_DEPTH - 5) // 2 + 1),
    "nested beyond any stack": b'{"version": "1.0.0", "anyOf": ' + b"[" * 50000,
    "one condition too many": altered([*BLOCK, "allOf"], [claim("a", 1)] * (MAX_CONDITIONS + 1)),
    "a megabyte": json.dumps(GOOD).encode() + b" " * 1024 * 1024,
    "one byte too many": json.dumps(GOOD).encode().ljust(MAX_POLICY_BYTES + 1),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ReleasePolicy.parse(REFUSALS[name], file="release.json")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(GOOD).encode(),
        json.dumps(GOOD).encode().ljust(MAX_POLICY_BYTES),
        nested((MAX_DEPTH - 5) // 2),
        altered([*BLOCK, "allOf"], [claim("a", 1)] * MAX_CONDITIONS),
    ],
)
def test_the_limits_themselves_are_allowed(data: bytes) -> None:
    assert ReleasePolicy.parse(data).authorities


def test_a_refusal_names_file_and_place() -> None:
    with pytest.raises(ConfigError) as caught:
        ReleasePolicy.parse(altered([*CONDITION, "equals"], None), file="release.json")
    assert caught.value.file == "release.json"
    assert caught.value.key == "anyOf[0].allOf[0].equals"


def test_parsed_form() -> None:
    (entry,) = policy(claim("a.b", True)).authorities
    assert isinstance(entry, Authority)
    assert entry.condition.parts == (Equals(("a", "b"), True),)


@given(JSON, st.sampled_from([["anyOf"], BLOCK, CONDITION, [*CONDITION, "equals"], ["x"]]))
def test_any_json_is_read_or_refused_as_documented(value: object, path: list[object]) -> None:
    for data in (json.dumps(value).encode(), altered(path, value)):
        with suppress(ConfigError), suppress(ReleaseError):
            ReleasePolicy.parse(data).evaluate({"iss": ISSUER, "a": "1"})


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_documented(data: bytes) -> None:
    with suppress(ConfigError):
        ReleasePolicy.parse(data)
