"""Variables that an environment rule can let in although nobody should set them from outside.

They make a process run other code, believe other certificates, or talk to somebody else. Whether a
pattern reaches one is decided for all names and values: see `automaton.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sealserve.policy.execution import patterns
from sealserve.policy.execution.framework.environment import matches
from sealserve.policy.execution.framework.values import member
from sealserve.policy.execution.reach.automaton import (
    Automaton,
    UndecidedError,
    common,
    exactly,
)
from sealserve.policy.execution.reach.syntax import compiled


@dataclass(frozen=True)
class Family:
    """Variables with one consequence. names: a pattern over the whole name. label: for people."""

    label: str
    names: str
    why: str


FAMILIES = (
    Family("LD_*", "LD_[^=]*", "the loader would run other code"),
    Family("PYTHON*", "PYTHON[^=]*", "the interpreter would run other code"),
    Family("OPENSSL_*", "OPENSSL_[^=]*", "OpenSSL would load other modules"),
    Family("SSL_*", "SSL_[^=]*", "other certificates would be believed"),
    Family("SSLKEYLOGFILE", "SSLKEYLOGFILE", "keys of connections would go to a file"),
    Family("*_PROXY", "(?i:[^=]+_PROXY)", "connections would go elsewhere"),
)
_VALUE = "=(?s:.*)"
# Nobody writes a rule for this value: one that lets it through lets every value through.
_PROBE = "zz9 plural /..\\%$!"


@dataclass(frozen=True)
class Reached:
    """A family that a rule lets in. example: a variable of it, "" where none could be named."""

    family: Family
    example: str


def reached(rule: object) -> list[Reached]:
    """Every family of which the rule lets in a variable, or may: what cannot be told counts."""
    found = ((family, _example(rule, family)) for family in FAMILIES)
    return [Reached(family, example) for family, example in found if example is not None]


def lets_in_any_value(rule: object) -> str:
    """The name of a variable that may have any value, "" if there is none."""
    if member(rule, "strategy") == "string":
        return ""
    try:
        example = _common(rule, "[A-Za-z_][A-Za-z0-9_]*")
    except UndecidedError:
        return ""
    name = (example or "").partition("=")[0]
    return name if name and matches(rule, f"{name}={_PROBE}") else ""


def is_anchored(rule: object) -> bool:
    """Whether a pattern has the anchors that guests before June 2025 did not add."""
    texts = [member(rule, name) for name in _patterns(rule)]
    return all(str(text).startswith("^") and str(text).endswith("$") for text in texts)


def unusable(rule: object) -> str:
    """Why RE2 refuses a pattern of the rule, "" if it takes them."""
    for name in _patterns(rule):
        try:
            patterns.compiled(patterns.as_guest(str(member(rule, name))))
        except patterns.UnusableError as error:
            return str(error)
    return ""


_STRATEGIES: Mapping[str, str] = {
    "pattern": "strategy",
    "name": "name_strategy",
    "value": "value_strategy",
}


def _patterns(rule: object) -> list[str]:
    """Which members of the rule are patterns."""
    return [
        name
        for name, strategy in _STRATEGIES.items()
        if member(rule, strategy) == "re2" and isinstance(member(rule, name), str)
    ]


def _example(rule: object, family: Family) -> str | None:
    """A variable of the family that the rule lets in; "" if there may be one."""
    if unusable(rule):
        return None  # what RE2 refuses matches nothing
    try:
        example = _common(rule, family.names)
    except UndecidedError:
        return ""
    if example is None:
        return None
    return example if matches(rule, example) else ""


def _common(rule: object, names: str) -> str | None:
    """A variable with such a name that the rule seems to let in."""
    pattern = member(rule, "pattern")
    if isinstance(pattern, str):
        if member(rule, "strategy") != "re2":
            set_name, equals, _ = pattern.partition("=")
            return pattern if equals and patterns.compiled(f"^(?:{names})$")(set_name) else None
        searched = compiled(patterns.as_guest(pattern))
        return common(searched, compiled(f"^(?:{names}){_VALUE}$"))
    name = common(_searched(rule, "name"), compiled(f"^(?:{names})$"))
    value = common(_searched(rule, "value"), compiled("^(?s:.*)$"))
    return None if name is None or value is None else f"{name}={value}"


def _searched(rule: object, name: str) -> Automaton:
    """What the guest looks for; text without a strategy for patterns means itself."""
    text = str(member(rule, name))
    if member(rule, _STRATEGIES[name]) == "re2":
        return compiled(patterns.as_guest(text))
    return exactly(text)
