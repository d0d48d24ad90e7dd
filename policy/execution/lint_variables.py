"""What the environment rules of a container leave to the host."""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.policy.execution import reach
from sealserve.policy.execution.framework.starting import rule_text
from sealserve.policy.execution.framework.values import member
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.platform import IDENTITY_RULES, POD_RULES, RULES
from sealserve.policy.remarks import Remark, Remarks

# The platform sets these in every container, so every policy for it has them. Some of their names
# end as dangerous ones do, and none of them is one.
PLATFORM_PATTERNS = frozenset(
    f"{each.name}={each.value}"
    for each in (*RULES, *POD_RULES, *IDENTITY_RULES)
    if each.strategy == "re2"
)


def of_rules(rules: Sequence[object]) -> Remarks:
    """Remarks on all the rules of a container, keys relative to it."""
    for index, rule in enumerate(rules):
        if member(rule, "pattern") not in PLATFORM_PATTERNS:
            yield from of_rule(f"env_rules[{index}]", rule)
    yield from _platform_rules(rules)
    yield from _unanchored(rules)
    yield from _twice(rules)


def of_rule(key: str, rule: object) -> Remarks:
    """Remarks on one rule."""
    told = cut(rule_text(rule), 100)
    if problem := reach.unusable(rule):
        yield Remark("doubt", key, f"{problem}: it lets nothing in", "write it in RE2's syntax")
        return
    reached = reach.reached(rule)
    for each in reached:
        yield _reaching(key, told, rule, each)
    name = reach.lets_in_any_value(rule)
    if name and not reached:
        yield Remark(
            "doubt",
            key,
            f"{told} lets the host choose {name} freely",
            "fix the value, or narrow the pattern to the values that are meant",
        )


def _reaching(key: str, told: str, rule: object, found: reach.Reached) -> Remark:
    """A pattern leaves the choice to the host; a fixed value is the policy's own."""
    family = found.family
    if member(rule, "strategy") == "string":
        harmless = str(member(rule, "pattern")).startswith("PYTHON_")  # names that images use
        return Remark(
            "note" if harmless else "doubt",
            key,
            f"{told} sets {family.label}: {family.why}, as this policy says",
            "be sure that this value is meant",
        )
    example = f", for example {cut(found.example, 60)}" if found.example else ", or may"
    return Remark(
        "critical",
        key,
        f"{told} lets in {family.label}{example}: {family.why}",
        "name the variable and its values; nothing that matches these names belongs to the host",
    )


def _platform_rules(rules: Sequence[object]) -> Remarks:
    found = [rule for rule in rules if member(rule, "pattern") in PLATFORM_PATTERNS]
    if found:
        yield Remark(
            "note",
            "env_rules",
            f"the host chooses the values of the platform's own variables ({len(found)} rules)",
            "believe none of them in the container",
        )


def _unanchored(rules: Sequence[object]) -> Remarks:
    loose = [cut(rule_text(rule), 60) for rule in rules if not reach.is_anchored(rule)]
    if loose:
        yield Remark(
            "doubt",
            "env_rules",
            f"{len(loose)} patterns have no anchors, {loose[0]} the first: guests of before June "
            "2025 find them anywhere, so that LD_PRELOAD=/x.so:HOSTNAME=1 passes HOSTNAME=.+",
            "a minimum version of the guest in the trust file keeps those out (uvm_minimum_svn)",
        )


def _twice(rules: Sequence[object]) -> Remarks:
    fixed = [rule_text(rule) for rule in rules if member(rule, "strategy") == "string"]
    names = [text.partition("=")[0] for text in fixed]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Remark(
            "note",
            "env_rules",
            f"{cut(name, 60)} has {names.count(name)} values: the host chooses among them",
            "leave the one that is meant",
        )
