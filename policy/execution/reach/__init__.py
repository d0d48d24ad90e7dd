"""Which variables the patterns of an environment rule reach, for all names and values at once."""

from sealserve.policy.execution.reach.variables import (
    FAMILIES,
    Family,
    Reached,
    is_anchored,
    lets_in_any_value,
    reached,
    unusable,
)

__all__ = [
    "FAMILIES",
    "Family",
    "Reached",
    "is_anchored",
    "lets_in_any_value",
    "reached",
    "unusable",
]
