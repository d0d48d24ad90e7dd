"""A release policy in plain words: who gets the key, one clause per line."""

from __future__ import annotations

from collections.abc import Iterator

from sealserve.policy.expectations import NO_POLICY
from sealserve.policy.known import permissive_name
from sealserve.policy.release import (
    AllOf,
    Authority,
    Condition,
    Equals,
    ReleasePolicy,
    escaped,
    shown,
)
from sealserve.policy.release_build import SIMULATED_SUFFIX
from sealserve.policy.release_claims import execution_policy, meaning


def explain(policy: ReleasePolicy) -> str:
    """Who gets a key that has this policy."""
    blocks = [line for entry in policy.authorities for line in _authority(entry)]
    return "\n".join(["the key is released to whoever shows a token", *blocks])


def to_json(policy: ReleasePolicy) -> dict[str, object]:
    """The same for programs: the policy's own tree, with words beside each clause."""
    return {
        "authorities": [
            {
                "authority": entry.authority,
                "simulated": is_simulated(entry),
                "condition": _tree(entry.condition),
            }
            for entry in policy.authorities
        ]
    }


def is_simulated(entry: Authority) -> bool:
    """Whether this issuer attests simulated machines."""
    return entry.authority.removesuffix("/").endswith(SIMULATED_SUFFIX)


def _authority(entry: Authority) -> Iterator[str]:
    simulated = "  (SIMULATED: it proves nothing about hardware)" if is_simulated(entry) else ""
    yield f"  issued by {entry.authority}{simulated}"
    yield from _lines(entry.condition, 4)


def _lines(condition: Condition, indent: int) -> Iterator[str]:
    start = " " * indent
    if isinstance(condition, Equals):
        yield start + _clause(condition)
        return
    every = isinstance(condition, AllOf)
    if len(condition.parts) > 1:
        yield f"{start}{'with all of' if every else 'with any one of'}"
        indent += 2
    for part in condition.parts:
        yield from _lines(part, indent)


def _clause(clause: Equals) -> str:
    compared = f"{escaped(clause.name)} = {shown(clause.value)}"
    words = _words(clause)
    return f"{words}: {compared}" if words else compared


def _words(clause: Equals) -> str:
    return "; ".join(words for words in (_warning(clause), meaning(clause)) if words)


def _warning(clause: Equals) -> str:
    digest = execution_policy(clause)
    if digest is None:
        return ""
    if digest == NO_POLICY:
        return "NO EXECUTION POLICY: nothing here says what runs"
    known = permissive_name(digest)
    return f"ANYTHING MAY RUN: {known}" if known else ""


def _tree(condition: Condition) -> dict[str, object]:
    if isinstance(condition, Equals):
        return {
            "claim": condition.name,
            "equals": condition.value,
            "means": _words(condition),
        }
    name = "all_of" if isinstance(condition, AllOf) else "any_of"
    return {name: [_tree(part) for part in condition.parts]}
