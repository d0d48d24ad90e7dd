"""The guest's own words where a fragment may not be loaded (hcsshim framework.rego)."""

from __future__ import annotations

from sealserve.policy.execution.framework import versions
from sealserve.policy.execution.framework.fragments import (
    Loaded,
    admits,
    before_loading,
    equal_svn,
    header_svn,
)
from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import UNDEFINED, holds, member, same

_BELOW = "fragment svn is below the specified minimum"


def of(asked: Question, loaded: Loaded | None) -> list[str]:
    """What the built-in rules say of a denial. loaded: None before the text is a module."""
    entries = asked.world.fragments()
    issuer = asked.get("issuer")
    if not any(same(issuer, member(each.fields, "issuer")) for each in entries):
        return ["invalid fragment issuer"]
    admitting = [each for each in entries if admits(each, asked)]
    if not admitting:
        return ["invalid fragment feed"]
    if loaded is None:
        return [c.reason for each in admitting for c in before_loading(each, asked) if not c.held]
    return [*_of_versions(admitting, asked, loaded), *_of_framework(loaded)]


def _of_versions(admitting: list[Candidate], asked: Question, loaded: Loaded) -> list[str]:
    header, body = header_svn(asked), loaded.rule("svn")
    minimums = [member(each.fields, "minimum_svn") for each in admitting]
    told = []
    if any(_differ_in_kind(header, body, minimum) for minimum in minimums):
        told.append("fragment svn and the specified minimum are different types")
    elif not any(versions.svn_reaches(svn, m) for svn in (header, body) for m in minimums):
        told.append(_BELOW)
    if header is UNDEFINED and not holds(body):
        told.append("missing fragment svn in either header or rego payload")
    if header is not UNDEFINED and holds(body) and _numbers_differ(header, body):
        told.append(f"svn in header {header} does not match svn in fragment rego {body}")
    return told


def _differ_in_kind(header: object, body: object, minimum: object) -> bool:
    """Numbers on one side, semantic versions on the other; a header has a number always."""
    if versions.is_semver(minimum):
        return header is not UNDEFINED or _is_number(body)
    return versions.is_semver(body) and _is_number(minimum)


def _is_number(value: object) -> bool:
    return value is not UNDEFINED and versions.number(value) is not None


def _numbers_differ(header: object, body: object) -> bool:
    return _is_number(header) and _is_number(body) and not equal_svn(header, body)


def _of_framework(loaded: Loaded) -> list[str]:
    ours, version = versions.FRAMEWORK_VERSION, loaded.framework_version
    if version is None:
        return [f"fragment framework_version is missing. Current version: {ours}"]
    if versions.compare(version, ours) == 1:
        return [
            "fragment framework_version is ahead of the current version: "
            f"{version} is greater than {ours}"
        ]
    return []
