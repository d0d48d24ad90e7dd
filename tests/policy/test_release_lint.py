"""What is worth a second look in a release policy: each thing alone, and the worst first."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError
from sealserve.policy.known import PERMISSIVE
from sealserve.policy.release import MAX_CONDITIONS, ReleasePolicy
from sealserve.policy.release_build import build
from sealserve.policy.release_grammar import MOST
from sealserve.policy.release_lint import asked_for, lint
from sealserve.policy.remarks import RANKS
from support.policy_release import JSON, claim, conditions

VECTORS = Path(__file__).parent.parent / "vectors" / "policy" / "release"
SERVICE = "https://a.example"
SIMULATED = f"{SERVICE}/simulated"
HOST = "x-ms-sevsnpvm-hostdata"
DEBUG = "x-ms-sevsnpvm-is-debuggable"
VMPL = "x-ms-sevsnpvm-vmpl"
STATUS = "x-ms-compliance-status"
KIND = "x-ms-attestation-type"
FLOOR = ("note", "policy", "no least firmware")


def block(**changes: Any) -> dict[str, Any]:
    """What we write. changes: clauses by what their name ends in, None to leave one out."""
    (made,) = json.loads(build(SERVICE, "5a" * 32, simulated=False))["anyOf"]
    kept: list[object] = []
    for clause in made["allOf"]:
        new = changes.pop(clause["claim"].rpartition("-")[2], clause)
        kept += [] if new is None else [new]
    return {**made, "allOf": [*kept, *changes.pop("more", [])], **changes}


def policy(*blocks: object) -> bytes:
    return json.dumps({"version": "1.0.0", "anyOf": list(blocks)}).encode()


def remarks(data: bytes) -> list[tuple[str, str, str]]:
    found = lint(data)
    assert all(remark.what.isprintable() and remark.hint.isprintable() for remark in found)
    return [(remark.rank, remark.key, remark.what) for remark in found]


def test_every_policy_hears_that_there_is_no_floor() -> None:
    (only,) = lint(policy(block()))
    assert (only.rank, only.key) == ("note", "policy")
    assert "no least firmware: the grammar compares for equality alone" in only.what
    assert "a trust service of ours asks for the firmware" in only.hint


RUNTIME = claim("x-ms-runtime.client-payload", "1")
NESTED = claim("x-ms-isolation-tee.x-ms-runtime.vm-configuration.secure-boot", "true")
TWO = {"anyOf": [claim(HOST, "5a" * 32), claim(HOST, "5b" * 32)]}
LATER = "anyOf[0].allOf[5]"

ONE: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "any software": ({"hostdata": None}, "danger", "anyOf[0]", f"{HOST} is not asked for"),
    "any machine": ({"status": None}, "danger", "anyOf[0]", f"{STATUS} is not asked for"),
    "any evidence": ({"type": None}, "doubt", "anyOf[0]", f"{KIND} is not asked for"),
    "debug mode as well": ({"debuggable": None}, "danger", "anyOf[0]", f"{DEBUG} is not asked"),
    "any level": ({"vmpl": None}, "doubt", "anyOf[0]", f"{VMPL} is not asked for"),
    "debug mode alone": (
        {"debuggable": claim(DEBUG, "true")}, "danger", "anyOf[0]", f"{DEBUG} may be true",
    ),
    "another level": ({"vmpl": claim(VMPL, "2")}, "doubt", "anyOf[0]", f"{VMPL} may be 2"),
    "either kind": (
        {"type": {"anyOf": [claim(KIND, "sevsnpvm"), claim(KIND, "tdxvm")]}},
        "doubt", "anyOf[0]", f"{KIND} may be tdxvm",
    ),
    "a way around": (
        {"hostdata": {"anyOf": [claim(HOST, "5a" * 32), claim("x-ms-ver", "1.0")]}},
        "danger", "anyOf[0]", f"{HOST} is not asked for",
    ),
    "a status of nobody": (
        {"status": claim(STATUS, "compliant")},
        "danger", "anyOf[0]", 'no service calls a machine "compliant"',
    ),
    "a status of the other platform": (
        {"status": claim(STATUS, "sealserve-simulated")},
        "danger", "anyOf[0]", "a status that this authority never gives",
    ),
    "two policies": ({"hostdata": TWO}, "note", "anyOf[0]", "2 execution policies are accepted"),
    "a policy for anything": (
        {"hostdata": claim(HOST, next(iter(PERMISSIVE)).hex())},
        "danger", "anyOf[0].allOf[2]", "the platform's default allow-all policy",
    ),
    "no policy": (
        {"hostdata": claim(HOST, "00" * 32)},
        "danger", "anyOf[0].allOf[2]", "no execution policy: anything gets the key",
    ),
    "a slash": ({"authority": f"{SERVICE}/"}, "note", "anyOf[0].authority", "ends in a slash"),
    "runtime data": ({"more": [RUNTIME]}, "doubt", LATER, "the guest itself chooses"),
    "runtime data of a VM": ({"more": [NESTED]}, "doubt", LATER, "the guest itself chooses"),
    "init-time data": (
        {"more": [claim("x-ms-inittime.a", "1")]}, "doubt", LATER, "whoever starts the machine",
    ),
    "a nonce": ({"more": [claim("nonce", "1")]}, "danger", LATER, "nonce is another one"),
    "report data": (
        {"more": [claim("x-ms-sevsnpvm-reportdata", "ab" * 64)]},
        "danger", LATER, "x-ms-sevsnpvm-reportdata is another one",
    ),
    "a pinned firmware": (
        {"more": [claim("x-ms-sevsnpvm-snpfw-svn", "24")]},
        "doubt", LATER, "x-ms-sevsnpvm-snpfw-svn is pinned",
    ),
    "two values at once": (
        {"more": [claim(VMPL, "1")]}, "danger", "anyOf[0]", f"{VMPL} would have to have two",
    ),
    "True": (
        {"debuggable": claim(DEBUG, "False")},
        "danger", "anyOf[0].allOf[3]", f'{DEBUG} is never "False"',
    ),
    "0 for false": (
        {"debuggable": claim(DEBUG, "0")}, "danger", "anyOf[0].allOf[3]", f'{DEBUG} is never "0"',
    ),
    "00": ({"vmpl": claim(VMPL, "00")}, "danger", "anyOf[0].allOf[4]", f'{VMPL} is never "00"'),
    "a boolean as number": (
        {"vmpl": claim(VMPL, "false")}, "danger", "anyOf[0].allOf[4]", f'{VMPL} is never "false"',
    ),
    "upper case": (
        {"hostdata": claim(HOST, "5A" * 32)}, "danger", "anyOf[0].allOf[2]", f"{HOST} is never",
    ),
    "base64": (
        {"hostdata": claim(HOST, "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=")},
        "danger", "anyOf[0].allOf[2]", f"{HOST} is never",
    ),
    "an object": (
        {"more": [claim("x-ms-sevsnpvm-uvm-endorsement", "x")]},
        "danger", LATER, "x-ms-sevsnpvm-uvm-endorsement is never",
    ),
    "no quotes around a boolean": (
        {"debuggable": claim(DEBUG, False)}, "note", "anyOf[0].allOf[3]", "false is not in quotes",
    ),
    "no quotes around a number": (
        {"vmpl": claim(VMPL, 0)}, "note", "anyOf[0].allOf[4]", "0 is not in quotes",
    ),
    "a claim nobody has": (
        {"more": [claim("x-ms-sevsnpvm-policy", "1")]},
        "danger", LATER, "x-ms-sevsnpvm-policy is in no token",
    ),
    "a claim with a slip": (
        {"more": [claim("x-ms-compliancestatus", "azure-compliant-uvm")]},
        "danger", LATER, "x-ms-compliancestatus is in no token",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "rank", "key", "what"), ONE.values(), ids=ONE)
def test_each_thing_alone(changes: dict[str, Any], rank: str, key: str, what: str) -> None:
    found = [remark for remark in remarks(policy(block(**changes))) if remark[1:2] != ("policy",)]
    assert [remark[:2] for remark in found] == [(rank, key)]
    assert found[0][2].startswith(what)


def test_a_number_that_is_not_its_text() -> None:
    """0.0 is the number 0, and another text."""
    found = remarks(policy(block(vmpl=claim(VMPL, 0.0))))
    assert ("danger", "anyOf[0].allOf[4]", f"{VMPL} is never 0.0: never met") in found


def test_a_slip_is_told_what_was_meant() -> None:
    slip = claim("x-ms-sevsnpvm-host-data", "5a" * 32)
    (remark,) = [each for each in lint(policy(block(more=[slip]))) if each.rank == "danger"]
    assert remark.hint == f"did you mean {HOST}?"


def test_simulated_is_a_danger_and_its_own_status_is_not() -> None:
    data = build(SIMULATED, "5a" * 32, simulated=True)
    assert [remark[:2] for remark in remarks(data)] == [
        ("danger", "anyOf[0].authority"),
        ("note", "policy"),
    ]
    mixed = block(authority=SIMULATED)
    what = "a status that this authority never gives: simulated and real never mix"
    assert ("danger", "anyOf[0]", what) in remarks(policy(mixed))


def test_several_authorities_are_as_weak_as_the_weakest() -> None:
    weak = block(hostdata=None)
    found = remarks(policy(block(), weak))
    assert ("danger", "anyOf[1]") in [remark[:2] for remark in found]
    assert ("note", "anyOf") in [remark[:2] for remark in found]


def test_claims_of_other_evidence_are_nobodys_slip() -> None:
    others = [claim("x-ms-azurevm-vmid", "1"), claim("secureboot", "true")]
    assert len(remarks(policy(block(more=others)))) == 1


def test_the_worst_first() -> None:
    ranks = [remark[0] for remark in remarks(policy(block(hostdata=TWO, vmpl=None, status=None)))]
    assert ranks == sorted(ranks, key=RANKS.index)  # type: ignore[arg-type]
    assert {*ranks} == {*RANKS} - {"critical"}  # an execution policy alone can be as bad as that


PUBLISHED = {
    "aci-sidecar": ["allow-all policy", "x-ms-attestation-type is not asked for"],
    "aks-kata": ["no execution policy", "x-ms-sevsnpvm-vmpl is not asked for"],
    "cleanroom": ["allow-all policy", "x-ms-sevsnpvm-is-debuggable is not asked for"],
    "cvm-nested": ["x-ms-sevsnpvm-hostdata is not asked for", "ends in a slash", "may be tdxvm"],
}


@pytest.mark.parametrize(("name", "words"), PUBLISHED.items(), ids=PUBLISHED)
def test_published_policies(name: str, words: list[str]) -> None:
    told = "\n".join(what for _, _, what in remarks((VECTORS / f"{name}.json").read_bytes()))
    for each in words:
        assert each in told


# ---- what no vault reads

A = [claim("a", "1")]
OUTSIDE: dict[str, tuple[object, str, str]] = {
    "a list": ([], "policy", "seen an empty list"),
    "no version": ({"anyOf": [{"authority": SERVICE, "allOf": A}]}, "version", "missing"),
    "an early version": (
        {"version": "0.2", "anyOf": [{"authority": SERVICE, "allOf": A}]}, "version", 'seen "0.2"',
    ),
    "a member more": (
        {"version": "1.0.0", "x": 1, "anyOf": [{"authority": SERVICE, "allOf": A}]},
        "x", "no member of a policy",
    ),
    "no authorities": ({"version": "1.0.0", "anyOf": []}, "anyOf", "seen an empty list"),
    "no authority": (
        {"version": "1.0.0", "anyOf": [{"allOf": A}]}, "anyOf[0]", "no authority: whose tokens?",
    ),
    "an authority that is text": ({"version": "1.0.0", "anyOf": ["x"]}, "anyOf[0]", 'seen "x"'),
    "an http authority": (
        {"version": "1.0.0", "anyOf": [{"authority": "http://a", "allOf": A}]},
        "anyOf[0].authority", 'seen "http://a"',
    ),
}  # fmt: skip
WITHIN: dict[str, tuple[object, str, str]] = {
    "an operator": ({"noneOf": A}, ".noneOf", "an operator that no vault knows"),
    "another comparison": ({"claim": "a", "notEquals": "1"}, ".notEquals", "an operator"),
    "beside equals": ({"claim": "a", "equals": 1, "exists": True}, ".exists", "an operator"),
    "the early spelling": (
        {"claim": "a", "condition": "equals", "value": "1"}, "", "the spelling of early samples",
    ),
    "both operators": ({"allOf": A, "anyOf": A}, "", "both allOf and anyOf"),
    "nothing": ({}, "", "neither allOf nor anyOf"),
    "nothing compared": ({"claim": "a"}, "", "a claim that is compared with nothing"),
    "no claim": ({"equals": "a"}, "", "equals without a claim"),
    "a list of values": ({"claim": "a", "equals": ["1"]}, ".equals", "seen a list"),
    "null": ({"claim": "a", "equals": None}, ".equals", "seen null"),
    "a text": ("x", "", 'seen "x"; wanted a condition'),
    "an empty claim": ({"claim": "", "equals": "1"}, ".claim", 'seen ""'),
    "an empty list": ({"anyOf": []}, ".anyOf", "seen an empty list"),
    "what moves a cursor": ({"\x1b[2J": A}, ".\\x1b[2J", "an operator"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "key", "what"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_no_vault_reads(value: object, key: str, what: str) -> None:
    ((rank, place, words),) = remarks(json.dumps(value).encode())
    assert (rank, place) == ("danger", key)
    assert words.startswith(what)


@pytest.mark.parametrize(("condition", "key", "what"), WITHIN.values(), ids=WITHIN)
def test_what_no_vault_reads_within(condition: object, key: str, what: str) -> None:
    ((rank, place, words),) = remarks(policy(block(more=[condition])))
    assert (rank, place) == ("danger", LATER + key)
    assert words.startswith(what)


def test_all_that_no_vault_reads_is_told_up_to_a_limit() -> None:
    two = [{"noneOf": []}, {"claim": "a", "above": 1}]
    assert len(remarks(policy(block(more=two)))) == 2
    assert len(remarks(policy(block(more=[{"noneOf": []}] * (MOST + 9))))) == MOST


def test_what_is_no_json_is_no_policy() -> None:
    for data in (b"", b"{", b"\xff", b"[" * 99, b" " * 70_000):
        with pytest.raises(ConfigError):
            lint(data, file="release.json")


# ---- asked for: no way around it

NAMES = [HOST, DEBUG, "a"]
TEXTS = ["0", "1", "false", "true"]
VALUES = st.sampled_from([*TEXTS, 0, 1, False, True])
CONDITIONS = conditions(NAMES, VALUES, 8)
CLAIMS = st.dictionaries(st.sampled_from(NAMES), VALUES)


@given(st.lists(CONDITIONS, min_size=1, max_size=3), CLAIMS)
def test_whoever_meets_a_policy_has_what_it_asks_for(
    parts: list[object], claims: dict[str, object]
) -> None:
    read = ReleasePolicy.parse(policy({"authority": SERVICE, "allOf": parts}))
    if read.unmet({"iss": SERVICE, **claims}):
        return
    for name in NAMES:
        values = asked_for(read.authorities[0].condition, name)
        if values is not None:
            value = claims[name]
            assert (value if isinstance(value, str) else json.dumps(value)) in values


@given(JSON)
def test_what_the_parser_refuses_is_always_told(value: object) -> None:
    for data in (json.dumps(value).encode(), policy(value), policy(block(more=[value]))):
        with suppress(ConfigError):
            found = lint(data)
            try:
                ReleasePolicy.parse(data)
            except ConfigError:
                assert found
                assert all(remark.rank == "danger" for remark in found)


def test_as_many_clauses_as_there_may_be() -> None:
    many = [claim(f"x-ms-sevsnpvm-{number}", "1") for number in range(MAX_CONDITIONS - 5)]
    assert len(remarks(policy(block(more=many)))) == MAX_CONDITIONS - 5 + 1
