"""What the sidecar writes down: who asked for what is not known, what was done for him is."""

from __future__ import annotations

import enum
from typing import Final

from sealserve.keys.closed_log import ClosedLog, Value


class Event(enum.StrEnum):
    """What can be logged."""

    ATTESTED = "attested"
    RELEASED = "released"
    WRAPPED = "wrapped"
    UNWRAPPED = "unwrapped"
    COLLATERAL_MISSING = "collateral_missing"
    REFUSED = "refused"
    FAILED = "failed"


FIELDS: Final[dict[Event, frozenset[str]]] = {
    Event.ATTESTED: frozenset({"what"}),
    Event.RELEASED: frozenset({"key", "version", "vault"}),
    Event.WRAPPED: frozenset({"key"}),
    Event.UNWRAPPED: frozenset({"key", "vault"}),
    # certificates or a revocation list of this machine could not be kept current
    Event.COLLATERAL_MISSING: frozenset({"why"}),
    # reason: our own words and what a service said, cut short; never a key, a token or a body
    Event.REFUSED: frozenset({"what", "status", "reason"}),
    Event.FAILED: frozenset({"what", "error"}),
}

# The levels of Microsoft's sidecar, from the quietest; what it logs at each is its own affair.
LEVELS: Final = ("panic", "fatal", "error", "warning", "info", "debug", "trace")
DEFAULT_LEVEL: Final = "warning"
_LEVEL_OF: Final = {
    Event.COLLATERAL_MISSING: "warning",
    Event.REFUSED: "warning",
    Event.FAILED: "panic",  # never hidden
}


class Log:
    """The events of a level and those that matter more."""

    def __init__(self, level: str = DEFAULT_LEVEL) -> None:
        """level: one of LEVELS."""
        self._level = LEVELS.index(level)
        self._log = ClosedLog(FIELDS)

    def __call__(self, event: Event, **fields: Value) -> None:
        """Write one event with exactly its fields, if the level has it."""
        if LEVELS.index(_LEVEL_OF.get(event, "info")) <= self._level:
            self._log(event, **fields)
