"""Decision vectors: policies with requests, and what a guest's own rules answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealserve.policy.execution.framework import Decision, Enforcer, FragmentDecision, Policy
from sealserve.policy.execution.requests import Requests, Step, parse

DIRECTORY = Path(__file__).resolve().parent.parent / "vectors" / "policy" / "decisions"

# What a step may expect beside `allowed` and `source`, all of it in a decision's result.
RESULTS = ("env_list", "caps_list", "allow_stdio_access", "add_module", "allowed_ledgers")


@dataclass(frozen=True)
class Case:
    """One policy and the requests that a guest under it gets, in order."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def head(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.path.read_bytes())
        return read

    @property
    def policy_text(self) -> bytes:
        return (self.path.parent / str(self.head["policy"])).read_bytes()

    @property
    def requests(self) -> Requests:
        return parse(self.path.read_bytes(), file=self.path.name)

    def enforcer(self) -> Enforcer:
        return Enforcer(Policy.parse(self.policy_text, file=self.name), self.requests.guest)


def cases_of(directory: Path) -> list[Case]:
    """Of the folder of decisions in there, or of the directory itself."""
    inner = directory / "decisions"
    folder = inner if inner.is_dir() else directory
    return [Case(path) for path in sorted(folder.glob("*.json"))]


def ask(enforcer: Enforcer, step: Step) -> Decision | FragmentDecision:
    if step.fragment is not None:
        return enforcer.load(step.fragment)
    return enforcer.ask(step.point, step.request)


def compared(decision: Decision, expect: Mapping[str, object]) -> tuple[object, object]:
    """What was answered and what was expected, both as far as the vector says."""
    told: dict[str, object] = {
        "allowed": decision.allowed,
        "source": decision.source,
        "errors": list(decision.reasons),
        **{name: decision.result.get(name) for name in RESULTS},
    }
    names = expect.keys() - {"policy_error"}
    return (
        {name: _sorted(told.get(name)) for name in names},
        {name: _sorted(expect[name]) for name in names},
    )


def _sorted(value: object) -> object:
    """The order of lists that stand for sets means nothing."""
    if isinstance(value, dict):
        return {name: _sorted(each) for name, each in value.items()}
    return sorted(value, key=repr) if isinstance(value, list) else value
