"""Policies with rules of their own: the guest's steps around an engine, and regopy as that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sealserve.errors import ConfigError
from sealserve.policy.execution import own_rules, rego_engine, requests
from sealserve.policy.execution.framework import Decision, Guest
from sealserve.policy.execution.framework.values import UNDEFINED
from sealserve.policy.execution.own_rules import OwnGuest, modules, simulate
from sealserve.policy.execution.rego_engine import EngineError, Regopy

Rule = Callable[[Mapping[str, Any], Mapping[str, Any]], object]


@dataclass
class Scripted:
    """An engine whose rules are functions of the request and of what the guest remembers."""

    rules: dict[str, Rule | object]
    name: str = "scripted 1.0"
    asked: list[str] = field(default_factory=list)

    def ask(self, query: str, given: Mapping[str, Any], data: Mapping[str, Any]) -> object:
        self.asked.append(query)
        rule = self.rules.get(query.removeprefix("data.policy."), UNDEFINED)
        if isinstance(rule, Exception):
            raise rule
        return rule(given, data["metadata"]) if callable(rule) else rule


def guest(api: object = "0.12.0", **rules: Any) -> OwnGuest:
    return OwnGuest(Scripted({"api_version": api, **rules}), Guest())


def denied(decision: Decision, error: str = "") -> None:
    """A denial that tells what was seen, wanted, and the way out."""
    assert (decision.allowed, decision.policy_error) == (False, error)
    ((check,),) = (each.checks for each in decision.considered)
    assert check.field == decision.point
    assert check.seen
    assert check.wanted
    assert check.hint


def test_what_the_rule_says_is_the_answer() -> None:
    one = guest(create_container={"allowed": True, "env_list": ["A=1"]})
    decision = one.ask("create_container", {})
    assert decision.allowed
    assert decision.source == "policy"
    assert decision.result == {"env_list": ["A=1"], "allow_stdio_access": False}
    assert "scripted 1.0: not the guest's own engine" in decision.rule


def test_a_denial_asks_the_policy_for_its_reason() -> None:
    def reason(given: Mapping[str, Any], _: Mapping[str, Any]) -> object:
        return {"errors": [f"no {given['rule']} of {given['target']}", 7]}

    decision = guest(mount_device={"allowed": False}, reason=reason).ask(
        "mount_device", {"target": "/a"}
    )
    denied(decision)
    assert decision.reasons == ("no mount_device of /a",)


def test_a_reason_that_cannot_be_had_leaves_the_denial() -> None:
    decision = guest(mount_device={"allowed": False}, reason=EngineError("no")).ask(
        "mount_device", {}
    )
    denied(decision)
    assert decision.reasons == ()


def test_what_comes_back_is_remembered() -> None:
    def mount(given: Mapping[str, Any], remembered: Mapping[str, Any]) -> object:
        change = {"name": "devices", "action": "add", "key": given["target"], "value": "aa"}
        return {
            "allowed": given["target"] not in remembered.get("devices", {}),
            "metadata": [] if given["target"] in remembered.get("devices", {}) else [change],
        }

    one = guest(mount_device=mount)
    assert [one.ask("mount_device", {"target": "/a"}).allowed for _ in range(2)] == [True, False]
    assert one.remembered["devices"] == {"/a": "aa"}
    assert one.remembered["operatingsystem"] == {"ostype": "linux"}


def operation(**members: object) -> dict[str, object]:
    return {"name": "n", "action": "add", "key": "k", "value": 1, **members}


BAD_CHANGES: dict[str, object] = {
    "no list": {},
    "no object": [1],
    "no name": [operation(name=None)],
    "another action": [operation(action="swap")],
    "a set": [operation(type="set")],
    "no key": [operation(key=None)],
    "no value": [{"name": "n", "action": "add", "key": "k"}],
    "there already": [operation(), operation()],
}


@pytest.mark.parametrize("name", BAD_CHANGES)
def test_a_change_that_is_none_is_denied_and_changes_nothing(name: str) -> None:
    one = guest(mount_device={"allowed": True, "metadata": BAD_CHANGES[name]})
    decision = one.ask("mount_device", {})
    denied(decision, decision.policy_error)
    assert "metadata" in decision.policy_error
    assert one.remembered == {"operatingsystem": {"ostype": "linux"}}


def test_changes_of_every_kind() -> None:
    changes = [
        operation(),
        operation(action="update", value=2),
        operation(key="other", type="map"),
        operation(key="other", action="remove"),
        operation(key="absent", action="remove"),
    ]
    one = guest(mount_device={"allowed": True, "metadata": changes})
    assert one.ask("mount_device", {}).allowed
    assert one.remembered["n"] == {"k": 2}


ERRORS: dict[str, tuple[OwnGuest, str, str]] = {
    "no version": (guest(UNDEFINED), "mount_device", "policy does not define api_version"),
    "no version as such": (guest("new"), "mount_device", "unknown enforcement point"),
    "an unknown point": (guest(), "fly", "unknown enforcement point"),
    "no rule": (guest(), "mount_device", "rule is missing from policy"),
    "no allowed": (guest(mount_device={}), "mount_device", ""),
    "allowed is text": (
        guest(mount_device={"allowed": "true"}),
        "mount_device",
        "the rule's value has no allowed",
    ),
    "no object": (guest(mount_device=True), "mount_device", ""),
    "an engine without an answer": (
        guest(mount_device=EngineError("two answers")),
        "mount_device",
        "scripted 1.0: two answers",
    ),
    "the framework is not here": (
        guest("0.10.0"),
        "rw_mount_device",
        "left to data.framework.rw_mount_device; --framework brings its text",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_whatever_cannot_be_asked_is_denied(name: str) -> None:
    one, point, error = ERRORS[name]
    denied(one.ask(point, {}), error)


def test_an_older_policy_gets_the_defaults() -> None:
    one = guest("0.9.0")
    assert one.ask("scratch_mount", {}).allowed
    assert one.ask("scratch_mount", {}).source == "default"
    denied(one.ask("host_network", {}))


def test_an_older_policy_leaves_to_the_framework_what_a_guest_does() -> None:
    engine = Scripted(
        {"api_version": "0.10.0", "data.framework.rw_mount_device": {"allowed": True}}
    )
    decision = OwnGuest(engine, Guest()).ask("rw_mount_device", {})
    assert decision.allowed
    assert decision.source == "framework"


def asked(*steps: dict[str, object]) -> requests.Requests:
    return requests.parse(json.dumps([*steps]).encode())


STEP: dict[str, object] = {"point": "mount_device", "input": {}}


def refused(why: str, steps: requests.Requests, engine: Scripted, *, framework: bool) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        simulate(engine, steps, framework=framework, file="p.rego")
    assert caught.value.hint or "at most" in why


def test_too_many_steps() -> None:
    refused(
        "at most 1000", asked(*[STEP] * (own_rules.MAX_STEPS + 1)), Scripted({}), framework=False
    )


def test_fragments_are_not_loaded() -> None:
    fragment = {"point": "load_fragment", "fragment": "package f", "issuer": "i", "feed": "f"}
    refused(r"steps\[1\]: a fragment cannot", asked(STEP, fragment), Scripted({}), framework=False)


@pytest.mark.parametrize("version", ["0.4.1", UNDEFINED])
def test_beside_the_framework_only_its_own_version(version: object) -> None:
    """What fills older policies compares versions, and would let through what a guest denies."""
    engine = Scripted({"api_version": "0.12.0", "framework_version": version})
    refused("compares versions wrongly", asked(STEP), engine, framework=True)
    assert len(simulate(engine, asked(STEP), framework=False)) == 1


def test_what_the_engine_cannot_read() -> None:
    engine = Scripted({"api_version": EngineError("line 1: no")})
    refused(
        "p.rego: scripted 1.0 cannot read it either: line 1: no",
        asked(STEP),
        engine,
        framework=False,
    )


def test_modules() -> None:
    told = modules(b"package policy", b'# c\npackage framework\nversion := "@@FRAMEWORK_VERSION@@"')
    assert told["policy.rego"] == "package policy"
    assert told["framework.rego"].endswith('version := "0.5.0"')
    assert modules(b"package policy", None) == {"policy.rego": "package policy"}


@pytest.mark.parametrize(
    "text", ["x := data.framework.y", 'x := data["framework"].y', "import data.framework as f"]
)
def test_a_policy_that_asks_the_framework_needs_it(text: str) -> None:
    with pytest.raises(ConfigError, match=r"p\.rego: .*whose text is not here") as caught:
        modules(f"package policy\n{text}".encode(), None, file="p.rego")
    assert "--framework" in caught.value.hint


@pytest.mark.parametrize("data", [b"package policy", b"\xff"])
def test_what_is_not_the_framework(data: bytes) -> None:
    with pytest.raises(ConfigError, match="--framework"):
        modules(b"package policy", data)


# ---- regopy itself

POLICY = """package policy

import future.keywords.in

api_version := "0.10.0"
default mount_device := {"allowed": false}
mount_device := {"allowed": true, "metadata": [{
    "name": "devices", "action": "add", "key": input.target, "value": input.deviceHash
}]} {
    not data.metadata.devices[input.target]
    input.deviceHash in {"aa", "bb"}
}
reason := {"errors": ["ours"]} { input.rule == "mount_device" }
"""


def real(text: str = POLICY) -> Regopy:
    pytest.importorskip("regopy")
    return Regopy.of(modules(text.encode(), None))


def test_regopy_runs_rules() -> None:
    one = OwnGuest(real(), Guest())
    mount = {"target": "/a", "deviceHash": "aa"}
    assert one.ask("mount_device", mount).allowed
    again = one.ask("mount_device", mount)
    denied(again)
    assert again.reasons == ("ours",)
    denied(one.ask("create_container", {}), "rule is missing from policy")


TWO_ANSWERS = 'package policy\nx := "a" { true }\nx := "b" { true }\n'


@pytest.mark.parametrize("text", [TWO_ANSWERS, "package policy\nx := {", "\0"])
def test_what_regopy_has_no_answer_to(text: str) -> None:
    with pytest.raises(EngineError):
        real(text).ask("data.policy.x", {}, {"metadata": {}})


def child(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> Regopy:
    path = folder / "child.py"
    path.write_text(program)
    monkeypatch.setattr(rego_engine, "_CHILD", path)
    return Regopy({}, "x")


CHILDREN = {
    "dies": "import os; os.abort()",
    "says nothing": "",
    "says no JSON": "print('{')",
    "says no object": "print(1)",
    "says too much": "print('\"' + 'a' * 5_000_000 + '\"')",
    "says neither": "print('{}')",
    "has an error": 'print(\'{"error": "e"}\')',
}


@pytest.mark.parametrize("name", CHILDREN)
def test_an_engine_that_fails_has_no_answer(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(EngineError):
        child(monkeypatch, tmp_path, CHILDREN[name]).ask("q", {}, {})


def test_an_engine_that_never_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rego_engine, "TIMEOUT_SECONDS", 0.1)
    with pytest.raises(EngineError, match="no answer within"):
        child(monkeypatch, tmp_path, "while 1: pass").ask("q", {}, {})


def test_an_engine_sees_no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET", "s")
    program = "import json, os; print(json.dumps({'value': sorted(os.environ)}))"
    seen = child(monkeypatch, tmp_path, program).ask("q", {}, {})
    assert "SECRET" not in str(seen)
