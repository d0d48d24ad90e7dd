"""Versions and security version numbers as the guest compares them (hcsshim api.rego).

What is no version compares with nothing: a condition on it fails, and so does its opposite.
"""

from __future__ import annotations

import re
from decimal import Decimal

# microsoft/hcsshim at 7c9ff7f48, pkg/securitypolicy: what this evaluator does is of these.
FRAMEWORK_VERSION = "0.5.0"
API_VERSION = "0.12.0"

_SEMVER = re.compile(
    r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
MAX_NUMBER_CHARS = 64


def compare(one: object, other: object) -> int | None:
    """Less than, equal to or greater than 0; None if one of them is no semantic version."""
    left, right = _ordered(one), _ordered(other)
    if left is None or right is None:
        return None
    return (left > right) - (left < right)


def at_least(version: object, minimum: str) -> bool:
    """False as well for what is no version."""
    order = compare(version, minimum)
    return order is not None and order >= 0


def below(version: object, other: str) -> bool:
    """False as well for what is no version."""
    order = compare(version, other)
    return order is not None and order < 0


def is_semver(value: object) -> bool:
    """Whether `value` is text of the form 1.2.3, with or without a suffix."""
    return _ordered(value) is not None


def number(value: object) -> Decimal | None:
    """As Rego's `to_number` reads it: null is 0, text may hold a number; None if it is none."""
    if value is None or isinstance(value, bool):
        return Decimal(int(bool(value)))
    if isinstance(value, int | float):
        return Decimal(str(value))
    if not isinstance(value, str) or len(value) > MAX_NUMBER_CHARS:
        return None
    return Decimal(value) if _NUMBER.fullmatch(value) else None


def svn_reaches(svn: object, minimum: object) -> bool:
    """Whether a security version number is the minimum or more.

    Numbers, in text or not, or both of them semantic versions (deprecated); never one of each.
    """
    if is_semver(svn) and is_semver(minimum):
        return at_least(svn, str(minimum))
    one, other = number(svn), number(minimum)
    return one is not None and other is not None and one >= other


Part = tuple[int, int, str]


def _ordered(value: object) -> tuple[tuple[int, ...], bool, tuple[Part, ...]] | None:
    """Something that sorts as semver.org 2.0.0, section 11, says: build suffixes do not count."""
    found = _SEMVER.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    suffix = found[4]
    numbers = tuple(int(found[index]) for index in (1, 2, 3))
    return numbers, suffix is None, tuple(_part(part) for part in (suffix or "").split("."))


def _part(part: str) -> Part:
    return (0, int(part), "") if part.isdigit() and len(part) <= 18 else (1, 0, part)
