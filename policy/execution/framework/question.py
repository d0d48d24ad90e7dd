"""One question to a policy: what is asked, under which policy, by a guest that remembers what."""

from __future__ import annotations

from dataclasses import dataclass

from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import UNDEFINED, Fields, member
from sealserve.policy.execution.framework.world import World


@dataclass(frozen=True)
class Question:
    """What every rule is given. request: `input` in Rego."""

    request: Fields
    world: World

    def get(self, name: str) -> object:
        """A member of the request, UNDEFINED where it has none."""
        return self.request.get(name, UNDEFINED)

    def told(self, *names: str) -> Fields:
        """Some members of the request, for messages."""
        return {name: self.request[name] for name in names if name in self.request}

    def text(self, name: str) -> str:
        """A member that names something; "" where there is none, and that names nothing."""
        value = self.get(name)
        return value if isinstance(value, str) else ""

    def about(self, candidate: Candidate) -> Case:
        """The question about one container."""
        return Case(self.request, self.world, candidate)


@dataclass(frozen=True)
class Case(Question):
    """A question about one candidate: what a condition is given."""

    candidate: Candidate

    def field(self, name: str) -> object:
        """A field of the candidate, UNDEFINED where it has none."""
        return member(self.candidate.fields, name)
