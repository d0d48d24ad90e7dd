"""Starting something: which candidates are left after each step, and with what they steps.

Conditions first, then the variables, then the capabilities, then whether output may leave. Every
step keeps fewer candidates or as many; the starting is denied where none is left, or where those
left would start differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sealserve.policy.execution.framework import capabilities, environment
from sealserve.policy.execution.framework.capabilities import Lists
from sealserve.policy.execution.framework.checks import Check, Considered
from sealserve.policy.execution.framework.conditions import Condition, consider
from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import (
    UNDEFINED,
    items,
    member,
    same,
    shown,
)


@dataclass(frozen=True)
class Starting:
    """What is asked, and of whom. privileged: None for what has no capabilities of its own."""

    asked: Question
    candidates: Sequence[Candidate]
    conditions: Sequence[Condition]
    privileged: bool | None


@dataclass
class Steps:
    """The steps of one decision; None where a step was not reached or gave no answer."""

    initial: list[Candidate]
    variables: list[str] | None = None
    after_environment: list[Candidate] = field(default_factory=list)
    capabilities: Lists | None = None
    left: list[Candidate] = field(default_factory=list)


def fitting(starting: Starting, conditions: Sequence[Condition] | None = None) -> list[Candidate]:
    """Candidates for which every condition holds."""
    wanted = starting.conditions if conditions is None else conditions
    return [
        each
        for each in starting.candidates
        if all(condition.holds(starting.asked.about(each)) for condition in wanted)
    ]


def narrow(starting: Starting, initial: list[Candidate]) -> Steps:
    """Take the steps that follow the conditions."""
    steps = Steps(initial)
    if not initial:
        return steps
    variables = environment.kept(initial, starting.asked)
    if variables is None:
        return steps
    steps.variables = variables
    steps.after_environment = [c for c in initial if environment.accepts(c, variables)]
    if starting.privileged is None or not steps.after_environment:
        steps.left = steps.after_environment
        return steps
    return _with_capabilities(starting, steps, starting.privileged)


def _with_capabilities(starting: Starting, steps: Steps, privileged: bool) -> Steps:
    candidates, world = steps.after_environment, starting.asked.world
    lists = capabilities.kept(candidates, privileged, starting.asked)
    if lists is not None:
        steps.capabilities = lists
        steps.left = [
            each for each in candidates if capabilities.accepts(each, privileged, lists, world)
        ]
    return steps


def stdio(candidates: Sequence[Candidate]) -> object:
    """Whether output may leave, if the candidates agree; else UNDEFINED."""
    told = [member(each.fields, "allow_stdio_access") for each in candidates]
    return told[0] if told and all(same(each, told[0]) for each in told) else UNDEFINED


# ---- how it is told


def considered(starting: Starting, steps: Steps, *, with_stdio: bool) -> tuple[Considered, ...]:
    """Every candidate, with the conditions of every step that it reached."""
    return tuple(_considered(each, starting, steps, with_stdio) for each in starting.candidates)


def _considered(
    candidate: Candidate, starting: Starting, steps: Steps, with_stdio: bool
) -> Considered:
    first = consider(starting.asked.about(candidate), starting.conditions)
    checks = list(first.checks)
    if _among(candidate, steps.initial):
        checks.append(_environment(candidate, steps))
    if _among(candidate, steps.after_environment) and starting.privileged is not None:
        checks.append(_capabilities(candidate, starting, steps, starting.privileged))
    if _among(candidate, steps.left) and with_stdio:
        checks.append(_stdio(candidate, steps))
    return Considered(candidate.label, tuple(checks))


def _among(candidate: Candidate, candidates: Sequence[Candidate]) -> bool:
    return any(each is candidate for each in candidates)


def _environment(candidate: Candidate, steps: Steps) -> Check:
    """Names of variables only: what they hold may be a secret."""
    held = _among(candidate, steps.after_environment)
    if steps.variables is None:
        seen = "candidates that would keep equally many variables, but not the same"
        hint = "make the environment rules of these containers tell them apart"
        return Check("env_rules", held, seen, "the same variables for each", hint)
    odd = [v for v in steps.variables if not environment.is_allowed(candidate, v)]
    missing = environment.unmet(candidate, steps.variables)
    names = [environment.name_of(v) for v in odd or steps.variables]
    wanted = missing or items(member(candidate.fields, "env_rules"))
    what = "variables that no rule allows" if odd else "variables"
    return Check(
        "env_rules",
        held,
        f"{what} {shown(names)}",
        f"{'required ' if missing else ''}{shown([rule_text(rule) for rule in wanted])}",
        "" if held else _environment_hint(bool(odd)),
    )


def _environment_hint(odd: bool) -> str:
    if odd:
        return "leave them out, or give them rules; dropping is not allowed by this policy"
    return "set the variables that these rules require, to values that they let through"


def rule_text(rule: object) -> str:
    """An environment rule as people write it."""
    if isinstance(member(rule, "pattern"), str):
        return _spelt(rule, "pattern", "strategy")
    return f"{_spelt(rule, 'name', 'name_strategy')}={_spelt(rule, 'value', 'value_strategy')}"


def _spelt(rule: object, text: str, strategy: str) -> str:
    prefix = "re2:" if member(rule, strategy) == "re2" else ""
    return f"{prefix}{member(rule, text)}"


def _capabilities(
    candidate: Candidate, starting: Starting, steps: Steps, privileged: bool
) -> Check:
    lists = capabilities.of(candidate, privileged, starting.asked.world)
    asked = starting.asked.get("capabilities")
    held = _among(candidate, steps.left)
    return Check(
        "capabilities",
        held,
        _lists(asked if steps.capabilities is None else steps.capabilities),
        _lists(lists),
        "" if held else "add the capabilities that are missing, and drop those that are too many",
    )


def _lists(lists: object) -> str:
    return (
        shown({name: sorted(map(str, each)) for name, each in lists.items()})
        if isinstance(lists, dict)
        else shown(UNDEFINED)
    )


def _stdio(candidate: Candidate, steps: Steps) -> Check:
    told = member(candidate.fields, "allow_stdio_access")
    held = stdio(steps.left) is not UNDEFINED
    return Check(
        "allow_stdio_access",
        held,
        shown(told),
        "the same for every container that this can be",
        "" if held else "give containers that differ in nothing else the same allow_stdio_access",
    )
