"""Which variables a container accepts, and what is left of a request where others may be dropped.

A rule is `{pattern, strategy}` over `NAME=VALUE`, or since framework 0.5.0 name and value apart,
parted at the first `=`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.policy.execution import patterns
from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import (
    holds,
    items,
    member,
    texts,
)

DROPPING = "allow_environment_variable_dropping"


def matches(rule: object, variable: object) -> bool:
    """Whether a rule lets `NAME=VALUE` through."""
    if not isinstance(variable, str):
        return False
    if _fits(member(rule, "pattern"), member(rule, "strategy"), variable):
        return True
    name, equals, value = variable.partition("=")
    return (
        equals == "="
        and _fits(member(rule, "name"), member(rule, "name_strategy"), name)
        and _fits(member(rule, "value"), member(rule, "value_strategy"), value)
    )


def _fits(pattern: object, strategy: object, text: str) -> bool:
    if strategy == "string":
        return pattern == text
    return strategy == "re2" and patterns.matches(pattern, text)


def rules_of(candidate: Candidate) -> list[object]:
    """Its environment rules."""
    return items(member(candidate.fields, "env_rules"))


def is_allowed(candidate: Candidate, variable: object) -> bool:
    """Whether some rule of the candidate lets a variable through."""
    return any(matches(rule, variable) for rule in rules_of(candidate))


def unmet(candidate: Candidate, variables: Sequence[object]) -> list[object]:
    """Required rules that no variable meets."""
    return [
        rule
        for rule in rules_of(candidate)
        if holds(member(rule, "required")) and not any(matches(rule, v) for v in variables)
    ]


def accepts(candidate: Candidate, variables: Sequence[object]) -> bool:
    """Whether every required rule is met and every variable allowed."""
    return (
        isinstance(member(candidate.fields, "env_rules"), list)
        and not unmet(candidate, variables)
        and all(is_allowed(candidate, variable) for variable in variables)
    )


def kept(candidates: Sequence[Candidate], asked: Question) -> list[str] | None:
    """The variables to start with: the request's, or as many of them as some candidate takes.

    None where candidates take equally many but not the same, or there is no list of variables.
    """
    variables = texts(asked.get("envList"))
    if not asked.world.policy.allows(DROPPING):
        return variables
    largest = _largest([_subset(candidate, variables or []) for candidate in candidates])
    return sorted(largest[0]) if len(set(largest)) == 1 else None


def _subset(candidate: Candidate, variables: Sequence[str]) -> frozenset[str]:
    return frozenset(variable for variable in variables if is_allowed(candidate, variable))


def _largest(sets: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    most = max((len(each) for each in sets), default=0)
    return [each for each in sets if len(each) == most]


def name_of(variable: object) -> str:
    """All of a variable that may be told."""
    return str(variable).partition("=")[0]
