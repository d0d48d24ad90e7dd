"""A second engine for policies that are programs: regopy, Microsoft's rego-cpp for Python.

It is not the engine of any guest, and answers some questions otherwise (`DIFFERENCES`). So nothing
here asks it for a policy that our own evaluator can judge, and whoever prints its answers says
whose they are. Each question is a process of its own, without an environment and with limits: the
text is a stranger's, and the engine is C++.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

from sealserve.policy.execution.framework.values import UNDEFINED, Fields
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.rego_child import MAX_ANSWER_CHARS

TIMEOUT_SECONDS: Final = 30

DIFFERENCES: Final = (
    "it compares versions as text, keeps escapes in a policy's text, knows no (?i), does not "
    "sort sets, and unites objects at their first level only"
)
_CHILD: Final = Path(__file__).with_name("rego_child.py")


def installed() -> bool:
    """Whether regopy is."""
    return importlib.util.find_spec("regopy") is not None


class EngineError(Exception):
    """The engine has no answer; the text says why, and is a stranger's."""


class Engine(Protocol):
    """Answers a query about modules."""

    @property
    def name(self) -> str:
        """Which engine, and which version of it."""

    def ask(self, query: str, given: Fields, data: Fields) -> object:
        """The value of a query, UNDEFINED where it has none. Raises EngineError."""


@dataclass(frozen=True)
class Regopy:
    """regopy with these modules, by name; every question starts from nothing."""

    modules: Mapping[str, str]
    name: str

    @classmethod
    def of(cls, modules: Mapping[str, str]) -> Regopy:
        """Only where it is `installed`."""
        return cls(modules, f"regopy {version('regopy')}")

    def ask(self, query: str, given: Fields, data: Fields) -> object:
        """See Engine."""
        question = {"modules": dict(self.modules), "data": data, "input": given, "query": query}
        try:
            ran = subprocess.run(  # noqa: S603  ourselves
                [sys.executable, "-I", str(_CHILD)],
                input=json.dumps(question).encode(),
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                env={},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"no answer within {TIMEOUT_SECONDS} seconds") from None
        return _value(ran.stdout)


def _value(told: bytes) -> object:
    """What the child answered; one that died answered nothing."""
    try:
        answer = json.loads(told) if len(told) <= MAX_ANSWER_CHARS else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise EngineError("it stopped without an answer, or with one that is too long")
    if "value" in answer:
        return answer["value"]
    if answer.get("undefined") is True:
        return UNDEFINED
    raise EngineError(cut(str(answer.get("error", "no reason given"))))
