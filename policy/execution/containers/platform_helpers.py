"""The platform's own helper images, which confcom treats apart."""

from __future__ import annotations

from sealserve.policy.execution.complaints import Place
from sealserve.policy.execution.platform import SIDECARS
from sealserve.policy.execution.wanted import Wanted


def is_helper(image: object) -> bool:
    """Whether this is a helper of the platform's own, by its name up to the first colon."""
    return f"{image}".split(":")[0] in SIDECARS


def is_filled(wanted: Wanted, place: Place) -> bool:
    """Whether the image fills up what was not said; confcom leaves out the platform's helpers."""
    return place.strict or wanted.alone or not is_helper(wanted.image)
