"""Environment rules: a container's own variables, then the image's, then the platform's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sealserve.policy.execution import environment
from sealserve.policy.execution.complaints import Place, Told, as_json, shown
from sealserve.policy.execution.containers.platform_helpers import is_filled, is_helper
from sealserve.policy.execution.environment import EnvRule
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.patterns import UnusableError
from sealserve.policy.execution.platform import POD_RULES, RULES, Fields
from sealserve.policy.execution.profile import Profile
from sealserve.policy.execution.wanted import Variable, Wanted


def env_rules(wanted: Wanted, image: Image, profile: Profile, place: Place) -> list[Fields]:
    """The template's variables, then the image's that it does not set, then the platform's."""
    variables = list(wanted.variables)
    if is_filled(wanted, place):
        variables += _of_image(image, {_name(entry) for entry in variables}, place)
    if not is_helper(wanted.image):
        names = {_name(entry) for entry in variables}
        rules = (*RULES, *(POD_RULES if wanted.is_pod else ()))
        variables += [Variable.of_platform(rule) for rule in rules if rule.name not in names]
    if place.strict:
        _check_variables(variables, place)
    return [
        {
            "pattern": _pattern(entry, profile),
            "required": entry.required,
            "strategy": entry.strategy,
        }
        for entry in variables
    ]


def _pattern(variable: Variable, profile: Profile) -> str:
    """Patterns of people's own get their anchors: guests before June 2025 matched anywhere."""
    anchors = profile.anchored_rules if variable.pinned else profile.strict
    if variable.strategy != "re2" or not anchors:
        return variable.pattern
    return environment.anchored(variable.pattern)


def _name(variable: Variable) -> str:
    return variable.pattern.split("=")[0]


def _of_image(image: Image, taken: set[str], place: Place) -> list[Variable]:
    found: list[Variable] = []
    for text in image.env:
        name, equals, value = text.partition("=")
        if not equals:
            place.refuse(
                text, "NAME=VALUE in the image", "the image's Env is broken: build it anew"
            )
        elif name not in taken:
            variable = Variable(name, value)
            if place.strict and variable in found:
                continue  # said twice in the same words
            found.append(variable)
    return found


def _check_variables(variables: Sequence[Variable], place: Place) -> None:
    """A container has one value per name: with two rules for it, one of them can never be met."""
    seen: dict[str, Variable] = {}
    for variable in variables:
        name = _name(variable)
        if variable.strategy == "string" and name in seen:
            place.at(name).refuse(
                Told(f"two values, {_short(seen[name])} and {_short(variable)}"),
                "one",
                "a container has one value per name: take one of them out",
            )
        seen.setdefault(name, variable)
        if variable.secret and variable.value:
            place.at(name).remark("its secret value stands in the policy, which the host can read")
        _check_rule(variable, place.at(name))


def _short(variable: Variable) -> str:
    return "a secret" if variable.secret else as_json(variable.value)[:40]


def _check_rule(variable: Variable, place: Place) -> None:
    if variable.strategy not in ("string", "re2"):
        place.refuse(
            variable.strategy, "string or re2", "string compares the text, re2 matches a pattern"
        )
        return
    strategy: Literal["string", "re2"] = "re2" if variable.strategy == "re2" else "string"
    try:
        environment.check(EnvRule(variable.pattern, strategy))
    except UnusableError as error:
        seen = "a secret of another kind" if variable.secret else shown(f"{error}")
        place.refuse(Told(seen), "a rule the guest can apply", error.hint)
