"""Answers to requests in words: what was meant, what decided, and the way out of a denial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sealserve.native.errors import printable
from sealserve.policy.execution.framework import Check, Considered, Decision
from sealserve.policy.execution.framework.environment import name_of
from sealserve.policy.execution.framework.values import items, member
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.simulation import Answer

NEAREST = 3  # containers told of a denial; those that missed by more are counted


def explain(answers: Sequence[Answer], *, name_rules: bool = False) -> str:
    """Every answer, a denial with the containers that were nearest to what was asked.

    name_rules: say of what is allowed, too, which rule decided it.
    """
    lines = (line for answer in answers for line in _told(answer, name_rules))
    return "\n".join(printable(line) for line in lines)


def _told(answer: Answer, name_rules: bool) -> Iterator[str]:
    word = "allowed" if answer.allowed else "DENIED"
    note = f"  {cut(answer.step.note)}" if answer.step.note else ""
    yield f"{answer.index:>4}  {cut(answer.step.point):<24}  {word:<7}{note}".rstrip()
    if not answer.decisions:
        yield _line("because", answer.decision.policy_error)
    for decision in answer.decisions[-1:]:  # a fragment's first question came out well then
        told = _allowed(answer, decision, name_rules)
        yield from told if decision.allowed else _denied(decision)


def _line(label: str, text: str) -> str:
    return f"      {label:<8}  {text}"


def _allowed(answer: Answer, decision: Decision, name_rule: bool) -> Iterator[str]:
    if name_rule or decision.source == "default":
        yield _line("by", decision.rule)
    held = [each.container for each in decision.considered if each.container and each.held]
    if held:
        yield _line("is", " or ".join(held))
    if dropped := _dropped(answer, decision):
        yield _line("drops", ", ".join(dropped))
    if decision.result.get("allow_stdio_access") is True:
        yield _line("stdio", "what it prints leaves the guest")


def _dropped(answer: Answer, decision: Decision) -> list[str]:
    """Names of what the request had and the start has not."""
    kept, lists = decision.result.get("env_list"), decision.result.get("caps_list")
    asked = items(answer.step.request.get("envList")) if isinstance(kept, list) else []
    variables = [name_of(each) for each in asked if each not in items(kept)]
    capabilities = {
        str(name)
        for each, left in (lists.items() if isinstance(lists, dict) else ())
        for name in items(member(answer.step.request, "capabilities", str(each)))
        if name not in left
    }
    return [*variables, *sorted(capabilities)]


def _denied(decision: Decision) -> Iterator[str]:
    yield _line("by", decision.rule)
    if decision.policy_error:
        yield _line("because", decision.policy_error)
    near, others = nearest(decision.considered)
    for each in near:
        if each.container:
            yield _line("not", each.container)
        for check in each.checks:
            if not check.held:
                yield from _failed(check)
    if others:
        yield _line("not", f"{others} more, which missed by more")
    for reason in decision.reasons:
        yield _line("guest", reason)


def _failed(check: Check) -> Iterator[str]:
    yield _line("", f"{check.field}: seen {check.seen}; wanted {check.wanted}")
    yield _line("", f"  hint: {check.hint}")


def nearest(considered: Sequence[Considered]) -> tuple[list[Considered], int]:
    """Conditions on the request as such, and the containers that missed by least if all did."""
    general = [each for each in considered if not each.container and not each.held]
    named = [each for each in considered if each.container]
    missed = [] if any(each.held for each in named) else sorted(named, key=_misses)
    near = [each for each in missed if _misses(each) == _misses(missed[0])][:NEAREST]
    return [*general, *near], len(missed) - len(near)


def _misses(considered: Considered) -> int:
    return sum(not check.held for check in considered.checks)
