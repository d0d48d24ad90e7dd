"""The proxy's log: events from this list, fields from this list, nothing else."""

from __future__ import annotations

import enum
from typing import Final

from sealserve.keys.closed_log import ClosedLog


class Event(enum.StrEnum):
    """What can be logged."""

    LISTENS_ANYWHERE = "listens_anywhere"
    READY = "ready"
    REPLICA_ATTESTED = "replica_attested"
    REPLICA_LEFT_OUT = "replica_left_out"
    CALL_FAILED = "call_failed"
    LOOKING_FAILED = "looking_failed"
    DRAINING = "draining"
    STOPPED = "stopped"


FIELDS: Final[dict[Event, frozenset[str]]] = {
    Event.LISTENS_ANYWHERE: frozenset({"place"}),
    Event.READY: frozenset({"place", "attested", "replicas"}),
    Event.REPLICA_ATTESTED: frozenset({"target", "platform"}),
    Event.REPLICA_LEFT_OUT: frozenset({"target", "why"}),
    Event.CALL_FAILED: frozenset({"method", "error"}),
    Event.LOOKING_FAILED: frozenset({"error"}),
    Event.DRAINING: frozenset({"seconds"}),
    Event.STOPPED: frozenset(),
}
log = ClosedLog(FIELDS)
