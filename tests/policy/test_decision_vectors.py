"""Judges a directory of decisions: the right answer to every request, for the right reasons.

    pytest tests/policy/test_decision_vectors.py --vectors DIR

DIR, or its folder `decisions`, has files of the form of tests/vectors/policy/decisions, which is
judged without the option: a policy each, and requests that share what the guest remembers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sealserve.policy.execution.framework import Decision, FragmentDecision
from support.policy_decisions import DIRECTORY, Case, ask, cases_of, compared

# What vectors call errors that keep a policy from being asked, by what we call them.
POLICY_ERRORS = {
    "rule is missing from policy": "rule is missing from policy",
    "unknown enforcement point": "unknown enforcement point",
    "policy does not define api_version": "policy does not define api_version",
    "namespace": "namespace: ",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = cases_of(directory_of(metafunc.config))
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])


def directory_of(config: pytest.Config) -> Path:
    return Path(config.getoption("--vectors") or DIRECTORY)


def test_there_are_cases(pytestconfig: pytest.Config) -> None:
    assert cases_of(directory_of(pytestconfig))


def test_the_policy_is_the_one_that_was_asked(case: Case) -> None:
    assert hashlib.sha256(case.policy_text).hexdigest() == case.head["policy_sha256"]


def test_decisions(case: Case) -> None:
    """Every step is judged, so that one run shows every difference."""
    enforcer = case.enforcer()
    wrong = []
    for index, step in enumerate(case.requests.steps):
        decision = ask(enforcer, step)
        expect = step.expect
        assert isinstance(expect, dict)
        wrong += [
            f"{case.name} step {index} {step.point} ({step.note}): {difference}"
            for difference in differences(decision, expect)
        ]
    assert not wrong, "\n".join(wrong)


def differences(decision: Decision | FragmentDecision, expect: Mapping[str, Any]) -> list[str]:
    if isinstance(decision, Decision):
        return [*_differ("decision", decision, expect), *_error(decision.policy_error, expect)]
    found = [] if decision.allowed == expect["allowed"] else [f"allowed: {decision.allowed}"]
    found += _error(decision.policy_error, expect)
    if "check" in expect:
        assert decision.check is not None
        found += _differ("check", decision.check, expect["check"])
    if list(decision.parameters) != expect.get("parameters", []):
        found.append(f"parameters: {decision.parameters}; expected {expect.get('parameters')}")
    loads = expect.get("loads", [])
    if len(loads) != len(decision.loads):
        found.append(f"{len(decision.loads)} loads; expected {len(loads)}")
    for index, (load, wanted) in enumerate(zip(decision.loads, loads, strict=False)):
        found += _differ(f"load {index}", load, wanted)
    return found


def _differ(what: str, decision: Decision, expect: Mapping[str, Any]) -> list[str]:
    told, wanted = compared(decision, expect)
    return [] if told == wanted else [f"{what}: {told}; expected {wanted}"]


def _error(told: str, expect: Mapping[str, Any]) -> list[str]:
    wanted = str(expect.get("policy_error", ""))
    known = POLICY_ERRORS.get(wanted, "")
    if bool(told) == bool(wanted) and told.startswith(known):
        return []
    return [f"policy error {told!r}; expected {wanted!r}"]


def test_what_was_decided_is_told(case: Case) -> None:
    """A denial names a rule, and a condition that failed with both sides and a way out."""
    enforcer = case.enforcer()
    for step in case.requests.steps:
        decision = ask(enforcer, step)
        for each in _decisions(decision):
            assert each.rule
            failed = [c for told in each.considered for c in told.checks if not c.held]
            assert each.allowed or failed, step
            assert all(c.seen and c.wanted and c.hint for c in failed), step
            if each.allowed and each.considered:
                assert any(told.held for told in each.considered), step


def _decisions(decision: Decision | FragmentDecision) -> list[Decision]:
    if isinstance(decision, Decision):
        return [decision]
    return [*([decision.check] if decision.check else []), *decision.loads]
