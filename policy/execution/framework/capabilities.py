"""Which capabilities a container has, and what is left of a request where others may be dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import (
    UNDEFINED,
    holds,
    items,
    member,
    same_members,
)
from sealserve.policy.execution.framework.world import World

DROPPING = "allow_capability_dropping"
SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")

Lists = Mapping[str, Sequence[object]]


def of(candidate: Candidate, privileged: bool, world: World) -> Lists | None:
    """The candidate's five lists; without any, those the guest gives such a container."""
    listed = member(candidate.fields, "capabilities")
    if listed is UNDEFINED:
        return None
    if listed is not None:
        return _five(listed)
    if privileged and holds(member(candidate.fields, "allow_elevated")):
        every = world.guest.privileged_capabilities
        return dict.fromkeys(SETS, every) | {"ambient": ()}
    some = world.guest.unprivileged_capabilities
    return dict.fromkeys(SETS, some) | {"inheritable": (), "ambient": ()}


def kept(candidates: Sequence[Candidate], privileged: bool, asked: Question) -> Lists | None:
    """The capabilities to start with: the request's, or as many of them as some candidate has.

    None where candidates have equally many but not the same, or the request lists none.
    """
    if not asked.world.policy.allows(DROPPING):
        return _five(asked.get("capabilities"))
    largest = largest_sets(candidates, privileged, asked)
    return largest[0] if largest and all(each == largest[0] for each in largest) else None


def largest_sets(candidates: Sequence[Candidate], privileged: bool, asked: Question) -> list[Lists]:
    """What each candidate would leave of the request, for those that leave most."""
    wanted = _five(asked.get("capabilities"))
    allowed = [of(candidate, privileged, asked.world) for candidate in candidates]
    left = [_both(wanted, each) for each in allowed if wanted is not None and each is not None]
    most = max((_count(each) for each in left), default=0)
    return [each for each in left if _count(each) == most]


def accepts(candidate: Candidate, privileged: bool, asked: Lists, world: World) -> bool:
    """Whether these are exactly the candidate's."""
    allowed = of(candidate, privileged, world)
    return allowed is not None and all(same_members(allowed[name], asked[name]) for name in SETS)


def _five(listed: object) -> Lists | None:
    lists = {name: member(listed, name) for name in SETS}
    if not all(isinstance(each, list) for each in lists.values()):
        return None
    return {name: items(each) for name, each in lists.items()}


def _both(asked: Lists, allowed: Lists) -> Lists:
    """Each once and sorted, as sets come out."""
    return {name: sorted({*_names(asked[name])} & {*_names(allowed[name])}) for name in SETS}


def _names(listed: Sequence[object]) -> list[str]:
    return [name for name in listed if isinstance(name, str)]


def _count(lists: Lists) -> int:
    return sum(len(each) for each in lists.values())
