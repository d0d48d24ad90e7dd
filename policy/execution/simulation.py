"""A guest's day under a policy: requests one after another, and what each is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sealserve.native.errors import ConfigError
from sealserve.policy.execution.framework import Check, Considered, Decision, Enforcer, Policy
from sealserve.policy.execution.framework.enforcer import FragmentDecision
from sealserve.policy.execution.framework.values import Fields
from sealserve.policy.execution.requests import Requests, Step


@dataclass(frozen=True)
class Answer:
    """One request and what came of it. index: its place in the file, from 0."""

    index: int
    step: Step
    decision: Decision | FragmentDecision

    @property
    def allowed(self) -> bool:
        """Whether the guest does what it is asked."""
        return self.decision.allowed

    @property
    def decisions(self) -> list[Decision]:
        """One; for a fragment one per time that it is asked about."""
        if isinstance(self.decision, Decision):
            return [self.decision]
        return [*([self.decision.check] if self.decision.check else []), *self.decision.loads]


def simulate(policy: Policy, requests: Requests) -> list[Answer]:
    """Ask every request in order; what is denied changes nothing, and the next one is asked.

    Raises ConfigError for a fragment with rules of its own, and where google-re2 is missing.
    """
    enforcer = Enforcer(policy, requests.guest)
    return [
        Answer(index, step, _decide(enforcer, index, step))
        for index, step in enumerate(requests.steps)
    ]


def _decide(enforcer: Enforcer, index: int, step: Step) -> Decision | FragmentDecision:
    if step.fragment is None:
        return enforcer.ask(step.point, step.request)
    try:
        return enforcer.load(step.fragment)
    except ConfigError as error:
        where = f"line {error.line} of the fragment: " if error.line else ""
        raise ConfigError(
            f"{where}{error.reason}", key=f"steps[{index}].fragment", hint=error.hint
        ) from error


# ---- for programs


def document(answers: Sequence[Answer]) -> list[Fields]:
    """Every answer as a JSON object."""
    return [_answer(answer) for answer in answers]


def _answer(answer: Answer) -> Fields:
    head: Fields = {"step": answer.index, "point": answer.step.point, "note": answer.step.note}
    decision = answer.decision
    if isinstance(decision, Decision):
        return {**head, **_decision(decision)}
    return {
        **head,
        "allowed": decision.allowed,
        "policy_error": decision.policy_error,
        "check": _decision(decision.check) if decision.check else None,
        "parameters": list(decision.parameters),
        "loads": [_decision(each) for each in decision.loads],
    }


def _decision(decision: Decision) -> Fields:
    return {
        "allowed": decision.allowed,
        "source": decision.source,
        "rule": decision.rule,
        "result": dict(decision.result),
        "errors": list(decision.reasons),
        "policy_error": decision.policy_error,
        "considered": [_considered(each) for each in decision.considered],
    }


def _considered(considered: Considered) -> Fields:
    return {
        "container": considered.container,
        "held": considered.held,
        "conditions": [_check(check) for check in considered.checks],
    }


def _check(check: Check) -> Fields:
    return {
        "field": check.field,
        "held": check.held,
        "seen": check.seen,
        "wanted": check.wanted,
        "hint": check.hint if not check.held else "",
    }
