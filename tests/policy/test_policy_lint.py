"""What a policy leaves to the host, and which patterns reach which variables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.policy.execution import generate_process, patterns, reach
from sealserve.policy.execution.environment import rule
from sealserve.policy.execution.framework import Policy
from sealserve.policy.execution.framework.environment import matches
from sealserve.policy.execution.lint import lint
from sealserve.policy.execution.reach import assembly, syntax
from sealserve.policy.execution.reach.automaton import UndecidedError, common, exactly
from sealserve.policy.execution.text import PolicyText, parse
from sealserve.policy.remarks import Remark

VECTORS = Path(__file__).parent.parent / "vectors" / "policy"
BARE = parse(generate_process(["/srv/app"])).containers[0]


def remarks(*containers: dict[str, Any], **policy: Any) -> list[Remark]:
    """Of a policy with these containers, notes left out."""
    made = [{**BARE, "name": f"c{index}", **fields} for index, fields in enumerate(containers)]
    text = PolicyText(containers=made, **policy).encode()
    return [each for each in lint(Policy.parse(text)) if each.rank != "note"]


def of_rules(*rules: str) -> list[Remark]:
    return remarks({"env_rules": [rule(text).fields() for text in rules]})


def test_a_plain_policy_has_notes_only() -> None:
    assert remarks({}) == []
    notes = lint(Policy.parse(generate_process(["/srv/app"])))
    assert {note.rank for note in notes} == {"note"}


# ---- variables that make a process run other code

CRITICAL = {
    "re2:LD_PRELOAD=.*": "LD_*",
    "re2:LD_[L]IBRARY_PATH=.*": "LD_*",
    "re2:L(?:D_|X)AUDIT=/[a-z]+": "LD_*",
    "re2:(A|LD_AUDIT)=.*|B=1": "LD_*",
    "re2:(?i:A=1|LD_AUDIT=.*)": "LD_*",
    "re2:PYTHONPATH=.*": "PYTHON*",
    "re2:P[XY]THON[A-W]+=\\d{2,}": "PYTHON*",
    "re2:OPENSSL_CONF=.*": "OPENSSL_*",
    "re2:SSL_CERT_(FILE|DIR)=.*": "SSL_*",
    "re2:SSLKEYLOGFILE=.*": "SSLKEYLOGFILE",
    "re2:HTTPS_PROXY=.*": "*_PROXY",
    "re2:(?i)https?_proxy=http://[a-z]+": "*_PROXY",
    "re2:FABRIC_.+=.*": "*_PROXY",
    "re2:[\\w-]+_PROXY=(?s:.)*": "*_PROXY",
}


@pytest.mark.parametrize("text", CRITICAL)
def test_patterns_that_reach_dangerous_variables_are_critical(text: str) -> None:
    found = [each for each in of_rules("LANG=C", text) if each.rank == "critical"]
    assert any(f"lets in {CRITICAL[text]}" in each.what for each in found)
    assert all(each.key == "containers[0] (c0).env_rules[1]" and each.hint for each in found)


def test_a_pattern_for_everything_reaches_every_family() -> None:
    found = [each.what for each in of_rules("re2:.*") if each.rank == "critical"]
    assert len(found) == len(reach.FAMILIES)
    assert "for example LD_=" in found[0]


HARMLESS = [
    "LANG=C.UTF-8",
    "BUILD_LD_FLAGS=-s",
    "MY_PYTHON=3",
    "HOSTNAME=LD_PRELOAD=/x.so",
    "PROXY=1",
    "re2:PATH=/usr/(s)?bin",
    "re2:LD=[0-9]",
    "re2:[^LPOS][a-z]*=1",
    "re2:XLD_.{3}=1|[A-C]=2",
    "re2:(?-s)A=(LD_|PYTHON)x",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_others_are_not(text: str) -> None:
    assert of_rules(text) == []


@pytest.mark.parametrize("text", ["LD_PRELOAD=/x.so", "SSL_CERT_FILE=/x", "https_proxy=http://x"])
def test_a_value_that_the_policy_fixes_is_a_doubt(text: str) -> None:
    (found,) = of_rules(text)
    assert found.rank == "doubt"
    assert text in found.what


def test_names_and_values_apart_are_followed_too() -> None:
    apart = {"name_strategy": "re2", "value_strategy": "re2", "required": False}
    rules = [{**apart, "name": "L._X", "value": "[0-9]"}, {**apart, "name": "X_.", "value": "1"}]
    found = remarks({"env_rules": rules}, framework_version="0.5.0")
    critical = [each for each in found if each.rank == "critical"]
    assert [each.key for each in critical] == ["containers[0] (c0).env_rules[0]"]
    assert "LD_X=0" in critical[0].what


def test_the_platforms_own_rules_are_one_note() -> None:
    data = (VECTORS / "samples/attestation_example.rego").read_bytes()
    found = lint(Policy.parse(data))
    assert not [each for each in found if each.rank == "critical"]
    assert len([each for each in found if "the platform's own" in each.what]) == 1


# ---- other remarks, each the only one

SHARE = {
    "destination": "/d",
    "options": ["rbind", "rshared", "rw"],
    "source": "sandbox:///tmp/atlas/azureFileVolume/.+",
    "type": "bind",
}
LOOSE = {"pattern": "A=[1-3]", "required": False, "strategy": "re2"}
INFRASTRUCTURE = {
    "feed": "mcr.microsoft.com/aci/aci-cc-infra-fragment",
    "includes": ["containers"],
    "issuer": "did:x509:0:sha256:A",
    "minimum_svn": "1",
}
SINGLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "privileged": ({"allow_elevated": True}, "danger", "allow_elevated"),
    "no command": ({"command": None}, "danger", "command"),
    "a shell": ({"command": ["/bin/sh"]}, "danger", "command"),
    "a debug shell": (
        {"exec_processes": [{"command": ["/bin/bash", "-i"], "signals": []}]},
        "danger",
        "exec_processes[0]",
    ),
    "a share": ({"mounts": [SHARE]}, "doubt", "mounts[0]"),
    "a free value": ({"env_rules": [rule("re2:A=.*").fields()]}, "doubt", "env_rules[0]"),
    "no anchors": ({"env_rules": [LOOSE]}, "doubt", "env_rules"),
    "no RE2": ({"env_rules": [{**LOOSE, "pattern": "^(?=a)$"}]}, "doubt", "env_rules[0]"),
    "a signal in text": ({"signals": ["15"]}, "doubt", "signals"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_each_leaves_something_open(name: str) -> None:
    fields, rank, key = SINGLE[name]
    (found,) = remarks(fields)
    assert (found.rank, found.key) == (rank, f"containers[0] (c0).{key}")
    assert found.hint


TAME: dict[str, dict[str, Any]] = {
    "a shell that is told what to do": {"command": ["/bin/sh", "-c", "exec app"]},
    "a probe with a shell": {"exec_processes": [{"command": ["sh", "-c", "x"], "signals": []}]},
    "a share to read": {"mounts": [{**SHARE, "options": ["rbind", "rshared", "ro"]}]},
}


@pytest.mark.parametrize("name", TAME)
def test_these_leave_nothing_open(name: str) -> None:
    assert remarks(TAME[name]) == []


@pytest.mark.parametrize(
    ("flag", "rank"),
    [
        ("allow_dump_stacks", "danger"),
        ("allow_runtime_logging", "danger"),
        ("allow_unencrypted_scratch", "danger"),
    ],
)
def test_flags(flag: str, rank: str) -> None:
    flags = {**parse(generate_process(["x"])).flags, flag: True}
    (found,) = remarks({}, flags=flags)
    assert (found.rank, found.key) == (rank, flag)


def test_old_versions_of_the_platforms_helpers() -> None:
    (found,) = remarks({}, fragments=[INFRASTRUCTURE])
    assert found.rank == "doubt"
    assert found.key.endswith(".minimum_svn")
    assert remarks({}, fragments=[{**INFRASTRUCTURE, "minimum_svn": "4"}]) == []


def test_rules_that_stay_in_the_guest() -> None:
    fragment = {**INFRASTRUCTURE, "minimum_svn": "4", "includes": ["namespace"]}
    (found,) = remarks({}, fragments=[fragment])
    assert found.key.endswith(".includes")


GROUPS: dict[str, tuple[list[str], list[str], bool]] = {
    "ours": (["/usr/bin/sealserve", "serve", "x"], ["sealserve", "skr"], True),
    "as a module": (
        ["python", "-m", "sealserve", "serve"],
        ["python", "-m", "sealserve", "skr"],
        True,
    ),
    "Microsoft's": (["sealserve", "serve"], ["/skr.sh"], True),
    "two servers": (["sealserve", "serve"], ["sealserve", "serve"], False),
    "two sidecars": (["sealserve", "skr"], ["sealserve", "skr"], False),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_server_and_a_sidecar_in_one_group(name: str) -> None:
    one, other, told = GROUPS[name]
    found = remarks({"command": one}, {"command": other})
    assert [each.key for each in found] == (["containers"] if told else [])


TEXTS: dict[str, tuple[str, str, str]] = {
    "everything allowed": ("samples/allow_all.rego", "critical", "policy"),
    "a point that later APIs need": (
        "confcom/sample-newer-volume_mounts.rego",
        "doubt",
        "rw_unmount_device",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_whole_policies(name: str) -> None:
    file, rank, key = TEXTS[name]
    found = lint(Policy.parse((VECTORS / file).read_bytes()))
    assert [each.rank for each in found if each.key == key] == [rank]


HEADS = {
    "no API": ('framework_version := "0.2.3"', "danger", "api_version"),
    "no framework": ('api_version := "0.1.0"\ncontainers := []', "danger", "framework_version"),
    "a framework to come": (
        'api_version := "0.1.0"\nframework_version := "0.6.0"',
        "danger",
        "framework_version",
    ),
    "one point for all": (
        'api_version := "0.1.0"\nmount_device := {"allowed": true}\nx := 1\n'
        'mount_overlay := {"allowed": false}',
        "critical",
        "mount_device",
    ),
    "a container that vanishes": (
        'api_version := "0.1.0"\nframework_version := "0.1.0"\ncontainers := [{"layers": []}]',
        "danger",
        "containers[0]",
    ),
    "a process in the guest": (
        'api_version := "0.1.0"\nframework_version := "0.1.0"\nexternal_processes := [{"command": '
        '["bash"], "env_rules": [], "working_dir": "/", "allow_stdio_access": true}]',
        "danger",
        "external_processes[0]",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str) -> None:
    text, rank, key = HEADS[name]
    found = lint(Policy.parse(f"package policy\n{text}\n".encode()))
    assert [each.rank for each in found if each.key == key] == [rank]


# ---- automata

ALPHABET = "aAbLD_=1\n"
PIECES = st.sampled_from(
    ["a", "A", "[ab]", "[^a]", ".", "\\w", "\\W", "L", "D", "_", "=", "1", "\\d", "(?i:l)", "\\x41"]
)
PATTERNS = st.recursive(
    PIECES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "*?"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
        inner.map(lambda one: f"^{one}"),
        inner.map(lambda one: f"{one}$"),
        inner.map(lambda one: f"(?s){one}"),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text(ALPHABET, max_size=6))
def test_an_automaton_finds_what_re2_finds(pattern: str, text: str) -> None:
    found = common(syntax.compiled(pattern), exactly(text))
    assert (found is not None) == patterns.compiled(pattern)(text)
    assert found in (None, text)


@given(PATTERNS, PATTERNS)
def test_what_two_patterns_share_is_in_both(one: str, other: str) -> None:
    text = common(syntax.compiled(one), syntax.compiled(other))
    if text is not None:
        assert patterns.compiled(one)(text)
        assert patterns.compiled(other)(text)


@given(PATTERNS, st.text("LD_ab1", max_size=4), st.text("ab1", max_size=2))
def test_no_variable_gets_past_that_is_not_remarked_on(pattern: str, name: str, value: str) -> None:
    made = {"pattern": pattern, "strategy": "re2"}
    if matches(made, f"LD_{name}={value}"):
        assert "LD_*" in [each.family.label for each in reach.reached(made)]


UNDECIDED = ["(((a{30}){30}){30})", "\\C", "(?x)a", "[[:words:]]", "(" * 300 + ")" * 300]


@pytest.mark.parametrize("pattern", UNDECIDED)
def test_what_is_not_understood_is_said(pattern: str) -> None:
    with pytest.raises(UndecidedError):
        syntax.compiled(pattern)


def test_what_is_not_understood_counts_as_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MAX_STATES", 10)
    syntax.compiled.cache_clear()
    found = reach.reached({"pattern": "HOSTNAME=[a-z]+", "strategy": "re2"})
    syntax.compiled.cache_clear()
    assert [each.example for each in found] == [""] * len(reach.FAMILIES)


@given(st.text("ab(|)[]^$*+?{}1,\\.:<>P-", max_size=12))
def test_any_pattern_that_re2_takes_is_taken_or_said(pattern: str) -> None:
    try:
        patterns.compiled(pattern)
        syntax.compiled(pattern)
    except (patterns.UnusableError, UndecidedError):
        return
    assert json.dumps(pattern)
