"""Denials at points where the framework was not asked at all, told like any other condition."""

from __future__ import annotations

from sealserve.policy.execution.framework import versions
from sealserve.policy.execution.framework.checks import Check, Considered
from sealserve.policy.execution.framework.points import POINTS
from sealserve.policy.execution.framework.policy import Policy
from sealserve.policy.execution.framework.values import UNDEFINED, shown


def told(name: str, policy: Policy) -> tuple[Considered, ...]:
    """What stands in the way of a point, and what would have to stand there."""
    return (Considered("", (_check(name, policy),)),)


def _check(name: str, policy: Policy) -> Check:
    point, version, said = POINTS.get(name), policy.api_version, policy.rule(name)
    binding = f"{name} := data.framework.{name}"
    if version is None:
        hint = "without it a guest denies everything; 0.10.0 is what the platform's samples have"
        return Check("api_version", False, "nothing", "a version, as 0.10.0", hint)
    if point is None or not versions.is_semver(version):
        seen = f"{shown(name)} in a policy of API {shown(version)}"
        wanted = f"a point of API {versions.API_VERSION}, and a version of the form 1.2.3"
        return Check("point", False, seen, wanted, f"points are {', '.join(POINTS)}")
    if said is not UNDEFINED:
        hint = "the policy answers this for good; bind it to let the framework decide"
        return Check(name, False, shown(said), binding, hint)
    if versions.at_least(version, point.since):
        hint = f"add the rule, or write an API version before {point.since} if the rest allows it"
        return Check(name, False, f"no rule, in API {version}", binding, hint)
    wanted = f"API {point.since} or later, and {binding}"
    hint = "write the policy for that API, if the guests it is for have it"
    return Check("api_version", False, shown(version), wanted, hint)
