"""Random policies keep their meaning, and what one allows beyond another is what `beyond` says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealserve.native.errors import PolicyViolation
from sealserve.policy.execution import ExecutionPolicy, explain, form, generate_process, rego
from sealserve.policy.execution.compare import beyond
from sealserve.policy.execution.framework import Enforcer, Policy
from sealserve.policy.execution.normal import entries, meaning
from sealserve.policy.execution.policy_file import read_one
from sealserve.policy.execution.text import PolicyText
from support.policy_guest import (
    ANYBODY,
    BINDINGS,
    CAPABILITIES,
    CONTAINER,
    ID,
    START,
    USER,
    create,
    guest,
    mounted,
    text,
)

# ---- policies

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
RULES = st.fixed_dictionaries(
    {
        "pattern": st.sampled_from(["A=1", "A=2", "B=1", "C=x"]) | WORDS,
        "required": st.booleans(),
        "strategy": st.just("string"),
    }
) | st.fixed_dictionaries(
    {
        "pattern": st.sampled_from(["A=.*", "[AB]=1", "(?i)b=.+", "C=[x-z]"]),
        "required": st.booleans(),
        "strategy": st.just("re2"),
    }
)
PERSONS = st.sampled_from(
    [ANYBODY, {"pattern": "0", "strategy": "id"}, {"pattern": "app", "strategy": "name"}]
)
MOUNTS = st.fixed_dictionaries(
    {
        "destination": st.sampled_from(["/a", "/b"]),
        "options": st.permutations(["rbind", "rw"]) | st.just(["ro"]),
        "source": st.sampled_from(["sandbox:///x/.+", "/y"]),
        "type": st.just("bind"),
    }
)
PROCESSES = st.fixed_dictionaries(
    {
        "command": st.sampled_from([["probe"], ["sh", "-c", "x"]]),
        "signals": st.lists(st.sampled_from([2, 9]), max_size=2),
    }
)
CONTAINERS = st.fixed_dictionaries(
    {
        "allow_elevated": st.booleans(),
        "allow_stdio_access": st.booleans(),
        "capabilities": st.sampled_from([None, CAPABILITIES, {**CAPABILITIES, "bounding": []}]),
        "command": st.sampled_from([["app"], ["app", "-x"], ["other"]])
        | st.lists(WORDS, min_size=1),
        "env_rules": st.lists(RULES, max_size=3),
        "exec_processes": st.lists(PROCESSES, max_size=2),
        "layers": st.sampled_from([["aa" * 32], ["aa" * 32, "bb" * 32]]),
        "mounts": st.lists(MOUNTS, max_size=2),
        "name": WORDS,
        "id": WORDS,
        "no_new_privileges": st.booleans(),
        "seccomp_profile_sha256": st.sampled_from(["", "cc" * 32]),
        "signals": st.lists(st.sampled_from([9, 15, 1]), max_size=2),
        "user": st.fixed_dictionaries(
            {
                "group_idnames": st.lists(PERSONS, min_size=1, max_size=2),
                "umask": st.sampled_from(["0022", "0077"]),
                "user_idname": PERSONS,
            }
        ),
        "working_dir": st.sampled_from(["/", "/srv"]),
    }
)
POLICIES = st.lists(CONTAINERS, max_size=3).map(lambda made: PolicyText(containers=made).encode())


@settings(max_examples=settings().max_examples // 3)
@given(POLICIES)
def test_a_policy_means_what_it_was_written_for(written: bytes) -> None:
    policy = Policy.parse(written)
    told = explain.document(form.name(read_one(written)), policy)
    again = Policy.parse(_rewritten(told))
    assert [meaning(entry) for entry in entries(again)] == [meaning(e) for e in entries(policy)]
    assert beyond(policy, again) == beyond(again, policy) == ()
    explained = explain.explain(form.name(read_one(written)), policy)
    assert all(line.isprintable() for line in explained.splitlines())


def _rewritten(told: dict[str, Any]) -> bytes:
    """The policy written anew from what was explained of it, which has every field filled in."""
    bare = [{k: v for k, v in each.items() if k != "label"} for each in told["containers"]]
    return PolicyText(containers=bare).encode()


@settings(max_examples=settings().max_examples // 3)
@given(POLICIES, st.integers())
def test_layout_order_and_names_mean_nothing(written: bytes, seed: int) -> None:
    shuffled = random.Random(seed)
    rules = {name: rule.value for name, rule in rego.parse(written).rules.items()}
    made = [_shuffled(each, shuffled) for each in rules["containers"]]  # type: ignore[attr-defined]
    lines = written.decode().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("containers"))
    lines[at] = f"containers := {json.dumps(made, indent=shuffled.choice([None, 2]))} # as before"
    other = Policy.parse("\n".join(lines).encode())
    policy = Policy.parse(written)
    assert beyond(policy, other) == beyond(other, policy) == ()


def _shuffled(container: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    made = {**container, "name": "x", "id": "y"}
    for name in ("env_rules", "mounts", "exec_processes", "signals"):
        made[name] = chance.sample(made[name], len(made[name]))
    made["mounts"] = [
        {**each, "options": chance.sample(each["options"], len(each["options"]))}
        for each in made["mounts"]
    ]
    return dict(chance.sample([*made.items()], len(made)))


# ---- differences

NARROWER: dict[str, dict[str, Any]] = {
    "layers": {"layers": ["bb" * 32]},
    "command": {"command": ["other"]},
    "working_dir": {"working_dir": "/x"},
    "seccomp_profile_sha256": {"seccomp_profile_sha256": "cc" * 32},
    "no_new_privileges": {"no_new_privileges": True},
    "allow_stdio_access": {"allow_stdio_access": False},
    "allow_elevated": {"allow_elevated": False},
    "user.umask": {"user": {**USER, "umask": "0077"}},
    "user.user_idname": {"user": {**USER, "user_idname": {"pattern": "0", "strategy": "id"}}},
    "user.group_idnames": {"user": {**USER, "group_idnames": [{"pattern": "0", "strategy": "id"}]}},
    "capabilities.bounding": {"capabilities": {**CAPABILITIES, "bounding": []}},
    "env_rules": {"env_rules": []},
    "mounts": {"mounts": []},
    "exec_processes": {"exec_processes": []},
    "signals": {"signals": []},
}
WIDE: dict[str, Any] = {
    "name": "web",
    "allow_elevated": True,
    "capabilities": CAPABILITIES,
    "env_rules": [{"pattern": "A=1", "required": False, "strategy": "string"}],
    "mounts": [{"destination": "/d", "options": [], "source": "/d", "type": "bind"}],
}
EXACT = {"layers", "command", "working_dir", "seccomp_profile_sha256", "user.umask"}


@pytest.mark.parametrize("key", NARROWER)
def test_every_field_that_is_narrower_is_told(key: str) -> None:
    wide = Policy.parse(text(WIDE).encode())
    narrow = Policy.parse(text({**WIDE, **NARROWER[key]}).encode())
    assert [each.key for each in beyond(wide, narrow)] == [f"containers[0] (web).{key}"]
    back = [each.key for each in beyond(narrow, wide)]
    both = key in EXACT or key.startswith("capabilities")
    assert back == ([f"containers[0] (web).{key}"] if both else [])


def test_a_requirement_is_narrower_than_none() -> None:
    (rule,) = WIDE["env_rules"]
    wide = Policy.parse(text(WIDE).encode())
    narrow = Policy.parse(text({**WIDE, "env_rules": [{**rule, "required": True}]}).encode())
    (found,) = beyond(wide, narrow)
    assert "a start without" in found.accepted
    assert beyond(narrow, wide) == ()


def test_a_container_that_only_one_policy_has_is_told_both_ways() -> None:
    one = Policy.parse(text({"name": "a"}, {"name": "b", "command": ["b"]}).encode())
    other = Policy.parse(text({"name": "a"}).encode())
    (found,) = beyond(one, other)
    assert found.key == "containers[1] (b)"
    assert beyond(other, one) == ()


FRAGMENT = {
    "issuer": "i",
    "feed": "f",
    "minimum_svn": "2",
    "includes": ["containers"],
    "required_receipts": [],
    "parameters": {},
}
WIDER_FRAGMENTS: dict[str, dict[str, Any]] = {
    "an older version": {"minimum_svn": "1"},
    "more that it contributes": {"includes": ["containers", "fragments"]},
    "another issuer": {"issuer": "j"},
    "another feed": {"feed": "g"},
    "other parameters": {"parameters": {"a": 1}},
}


@pytest.mark.parametrize("name", WIDER_FRAGMENTS)
def test_fragments_are_compared(name: str) -> None:
    one = Policy.parse(text(fragments=[{**FRAGMENT, **WIDER_FRAGMENTS[name]}]).encode())
    other = Policy.parse(text(fragments=[FRAGMENT]).encode())
    assert [each.key for each in beyond(one, other)] == [
        f"fragments[0] ({WIDER_FRAGMENTS[name].get('feed', 'f')})"
    ]
    both = name.startswith(("another", "other"))
    assert bool(beyond(other, one)) == both


def test_a_receipt_that_is_asked_for_is_narrower() -> None:
    one = Policy.parse(text(fragments=[FRAGMENT]).encode())
    other = Policy.parse(text(fragments=[{**FRAGMENT, "required_receipts": ["l"]}]).encode())
    assert len(beyond(one, other)) == 1
    assert beyond(other, one) == ()


HEADS: dict[str, dict[str, Any]] = {
    "allow_dump_stacks": {"allow_dump_stacks": True},
    "allow_unencrypted_scratch": {"allow_unencrypted_scratch": True},
    "allow_host_network": {"allow_host_network": True},
    "external_processes": {"external_processes": [{"command": ["x"]}]},
    "platform_rules": {"platform_rules": [{"env_rules": []}]},
    "transparency_trust_lists": {"transparency_trust_lists": [{"issuer": "i"}]},
}


@pytest.mark.parametrize("key", HEADS)
def test_what_stands_beside_containers_is_compared(key: str) -> None:
    one = Policy.parse(text({}, **HEADS[key]).encode())
    other = Policy.parse(text({}).encode())
    assert [each.key for each in beyond(one, other)] == [key]
    assert beyond(other, one) == ()


def test_a_newer_framework_needs_a_newer_guest() -> None:
    one, other = (Policy.parse(text({}, framework=version).encode()) for version in VERSIONS)
    assert [each.key for each in beyond(one, other)] == ["framework_version"]
    assert beyond(other, one) == ()


VERSIONS = ("0.4.1", "0.5.0")


def test_where_everything_is_allowed_nothing_else_matters() -> None:
    everything = Policy.parse(_bound({"create_container": '{"allowed": true}'}))
    usual = Policy.parse(_bound({}))
    assert [each.key for each in beyond(everything, usual)] == ["create_container"]
    assert beyond(usual, everything) == ()


def _bound(more: dict[str, str]) -> bytes:
    return text({}, bindings={**BINDINGS, **more}).encode()


# ---- what has to be monotone

REQUESTS = st.fixed_dictionaries(
    {
        "argList": st.sampled_from([["app"], ["app", "-x"], ["other"]]),
        "envList": st.lists(st.sampled_from(["A=1", "A=2", "B=1", "b=7", "C=x"]), max_size=3),
        "workingDir": st.sampled_from(["/", "/", "/srv"]),
        "privileged": st.sampled_from([False, False, True]),
        "noNewPrivileges": st.booleans(),
        "umask": st.sampled_from(["0022", "0022", "0077"]),
        "mounts": st.lists(
            st.sampled_from(
                [
                    {"destination": "/a", "options": ["ro"], "source": "/y", "type": "bind"},
                    {
                        "destination": "/b",
                        "options": ["rw", "rbind"],
                        "source": "/sandbox/x/1",
                        "type": "bind",
                    },
                ]
            ),
            max_size=1,
        ),
        "seccompProfileSHA256": st.sampled_from(["", "", "cc" * 32]),
    }
)
# Near the request, so that both answers come up.
NEAR = CONTAINERS.map(
    lambda made: {**made, "layers": CONTAINER["layers"], "capabilities": None, "command": ["app"]}
)


def allowed(container: dict[str, Any], asked: dict[str, Any], **policy: Any) -> bool:
    return create(mounted(guest(container, **policy)), **asked).allowed


@given(NEAR, NEAR, REQUESTS, st.booleans())
def test_what_goes_nowhere_beyond_allows_nothing_more(
    one: dict[str, Any], other: dict[str, Any], asked: dict[str, Any], drops: bool
) -> None:
    policy = {"allow_environment_variable_dropping": drops}
    left, right = (Policy.parse(text(each, **policy).encode()) for each in (one, other))
    if not beyond(left, right) and allowed(one, asked, **policy):
        assert allowed(other, asked, **policy)


LOOSER: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "one rule more": lambda made: {
        "env_rules": [
            *made["env_rules"],
            {"pattern": "A=.*", "required": False, "strategy": "re2"},
        ]
    },
    "no requirement": lambda made: {
        "env_rules": [{**each, "required": False} for each in made["env_rules"]]
    },
    "one mount more": lambda made: {
        "mounts": [
            *made["mounts"],
            {"destination": "/a", "options": ["ro"], "source": "/y", "type": "bind"},
        ]
    },
    "privileges": lambda made: {"allow_elevated": True},
    "privileges to gain": lambda made: {"no_new_privileges": False},
    "anybody": lambda made: {
        "user": {**made["user"], "user_idname": ANYBODY, "group_idnames": [ANYBODY]}
    },
}


@pytest.mark.parametrize("name", LOOSER)
@given(made=NEAR, asked=REQUESTS)
def test_a_looser_container_allows_no_less(
    name: str, made: dict[str, Any], asked: dict[str, Any]
) -> None:
    looser = {**made, **LOOSER[name](made)}
    if allowed(made, asked):
        assert allowed(looser, asked)


@given(NEAR, REQUESTS)
def test_one_variable_less_is_no_reason_for_a_denial(
    made: dict[str, Any], asked: dict[str, Any]
) -> None:
    free = {**made, "env_rules": [{**each, "required": False} for each in made["env_rules"]]}
    policy = {"allow_environment_variable_dropping": False}
    if allowed(free, asked, **policy):
        assert allowed(free, {**asked, "envList": asked["envList"][1:]}, **policy)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create_container", "exec_in_container", "signal_container_process"]),
        st.fixed_dictionaries(
            {
                "argList": st.sampled_from([["app"], ["probe"], ["sh", "-c", "x"]]),
                "signal": st.sampled_from([2, 9, 15]),
                "isInitProcess": st.booleans(),
                "workingDir": st.sampled_from(["/", "/srv"]),
            }
        ),
    ),
    max_size=6,
)


@given(st.lists(NEAR, min_size=1, max_size=3), STEPS)
def test_a_container_only_ever_gets_more_certain(
    made: list[dict[str, Any]], steps: list[tuple[str, dict[str, Any]]]
) -> None:
    """And what is denied is denied again: it has changed nothing."""
    enforcer = mounted(guest(*made))
    before = _candidates(enforcer)
    for point, asked in steps:
        first = enforcer.ask(point, {**START, **asked})
        after = _candidates(enforcer)
        assert set(after) <= set(before)
        if not first.allowed:
            assert after == before
            assert enforcer.ask(point, {**START, **asked}) == first
        before = after


def _candidates(enforcer: Enforcer) -> list[str]:
    return [each.label for each in enforcer._world.state.matches.get(ID, [])]


# ---- the policy of one process

SETTINGS = st.dictionaries(
    st.sampled_from(["A", "B", "LANG", "X"]), st.sampled_from(["1", "2", "", "a b"]), max_size=3
)


@given(
    st.lists(
        st.sampled_from(["A=1", "re2:B=.+", "re2:A=1|X=2", "LANG=", "re2:[AX]=[12]"]), unique=True
    ),
    SETTINGS,
    st.sampled_from([["app"], ["app", "-x"]]),
    st.sampled_from(["/", "/srv"]),
)
def test_the_simulated_platform_starts_what_a_guest_would(
    rules: list[str], variables: dict[str, str], command: list[str], folder: str
) -> None:
    """A process policy has a container without layers; everything else is asked alike."""
    written = generate_process(["app"], env_rules=rules)
    enforcer = Enforcer(Policy.parse(written))
    overlay = {"containerID": ID, "layerPaths": [], "target": "/o"}
    assert enforcer.ask("mount_overlay", overlay).allowed
    asked = {"argList": command, "workingDir": folder}
    decision = create(enforcer, envList=[f"{k}={v}" for k, v in variables.items()], **asked)
    try:
        kept = ExecutionPolicy.parse(written).may_start(command, variables, folder)
    except PolicyViolation:
        assert not decision.allowed
        return
    assert decision.allowed
    assert decision.result["env_list"] == sorted(f"{k}={v}" for k, v in kept.items())
