"""What a decision was made of: conditions, each with both sides and the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sealserve.policy.execution.framework.state import State
from sealserve.policy.execution.framework.values import Fields

Change = Callable[[State], object]


@dataclass(frozen=True)
class Check:
    """One condition of one rule.

    field: of the policy, or of the request where the policy has none. reason: the guest's own words
    for its failing, "" where it has none.
    """

    field: str
    held: bool
    seen: str
    wanted: str
    hint: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Considered:
    """A container that might have been meant, and every condition on it in the guest's order.

    container: its label, "" for conditions on the request as such.
    """

    container: str
    checks: tuple[Check, ...]

    @property
    def held(self) -> bool:
        """Whether every condition did."""
        return all(check.held for check in self.checks)


@dataclass(frozen=True)
class Outcome:
    """What a rule of the framework says; it has changed nothing yet.

    result: what comes back beside `allowed`. change: what the guest remembers of it, if allowed.
    conflict: the rule has several answers at once, which the guest takes for an error.
    """

    allowed: bool
    considered: tuple[Considered, ...] = ()
    result: Fields | None = None
    change: Change | None = None
    conflict: bool = False


def outcome(
    checks: Sequence[Check],
    change: Change | None = None,
    considered: Iterable[Considered] = (),
) -> Outcome:
    """The outcome of conditions on the request as such; considered: what more there is to tell."""
    allowed = all(check.held for check in checks)
    told = (Considered("", tuple(checks)), *considered)
    return Outcome(allowed, told, None, change if allowed else None)


def failed(considered: Iterable[Considered]) -> list[Check]:
    """Every condition that did not hold."""
    return [check for each in considered for check in each.checks if not check.held]
