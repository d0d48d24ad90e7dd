"""The server's log: events from this list, fields from this list, nothing else."""

from __future__ import annotations

import enum
from collections.abc import Callable
from threading import Lock
from typing import Final

from sealserve.keys.closed_log import ClosedLog, Value


class Event(enum.StrEnum):
    """What can be logged."""

    HARDENED = "hardened"
    PLATFORM_FOUND = "platform_found"
    COLLATERAL_MISSING = "collateral_missing"
    IDENTITY_WITHOUT_ATTESTATION = "identity_without_attestation"
    CERTIFICATES_MADE = "certificates_made"
    MODEL_OPENED = "model_opened"
    CALLERS = "callers"
    BATCHING_OFF = "batching_off"
    READY = "ready"
    SETTLED = "settled"
    NOT_SETTLED = "not_settled"
    WORKER_ENDED = "worker_ended"
    WORKER_REPLACED = "worker_replaced"
    GENERATION_ENDED = "generation_ended"
    RELOADED = "reloaded"
    RELOAD_REFUSED = "reload_refused"
    CERTIFICATES_ROTATED = "certificates_rotated"
    ROTATION_FAILED = "rotation_failed"
    EVIDENCE_FAILED = "evidence_failed"
    REQUEST_FAILED = "request_failed"
    UNFORESEEN = "unforeseen"
    DESCRIPTORS_FEW = "descriptors_few"
    STATUS_LISTENING = "status_listening"
    CONTROL_LISTENING = "control_listening"
    DESK_FAILED = "desk_failed"
    DESK_ENDED = "desk_ended"
    DRAINING = "draining"
    STOPPED = "stopped"


FIELDS: Final[dict[Event, frozenset[str]]] = {
    Event.HARDENED: frozenset({"weights", "why_no_mount"}),
    Event.PLATFORM_FOUND: frozenset({"platform"}),
    Event.COLLATERAL_MISSING: frozenset({"why"}),
    Event.IDENTITY_WITHOUT_ATTESTATION: frozenset({"platform"}),
    Event.CERTIFICATES_MADE: frozenset({"seconds"}),
    Event.MODEL_OPENED: frozenset({"model", "version", "root", "release_seconds", "open_seconds"}),
    Event.CALLERS: frozenset({"who", "number"}),
    Event.BATCHING_OFF: frozenset({"model", "version", "why"}),
    Event.READY: frozenset({"host", "port", "models"}),
    Event.SETTLED: frozenset({"seconds"}),
    Event.NOT_SETTLED: frozenset({"model", "error"}),
    Event.WORKER_ENDED: frozenset({"worker", "status"}),
    Event.WORKER_REPLACED: frozenset({"worker"}),
    Event.GENERATION_ENDED: frozenset({"error"}),
    Event.RELOADED: frozenset({"models"}),
    Event.RELOAD_REFUSED: frozenset({"error"}),
    Event.CERTIFICATES_ROTATED: frozenset({"seconds"}),
    Event.ROTATION_FAILED: frozenset({"error"}),
    Event.EVIDENCE_FAILED: frozenset({"error"}),
    Event.REQUEST_FAILED: frozenset({"method", "error"}),
    Event.UNFORESEEN: frozenset({"where", "error"}),
    Event.DESCRIPTORS_FEW: frozenset({"allowed", "wanted"}),
    Event.STATUS_LISTENING: frozenset({"host", "port"}),
    Event.CONTROL_LISTENING: frozenset({"path"}),
    Event.DESK_FAILED: frozenset({"error"}),
    Event.DESK_ENDED: frozenset({"again"}),
    Event.DRAINING: frozenset({"seconds"}),
    Event.STOPPED: frozenset(),
}


class CountedLog(ClosedLog[Event]):
    """Says an event, and tells whoever counts them. count: what a new process sets once."""

    def __init__(self) -> None:
        super().__init__(FIELDS)
        self.count: Callable[[Event], None] = lambda _: None
        self._one_at_a_time = Lock()

    def __call__(self, event: Event, **fields: Value) -> None:
        """Write one event; ValueError, a bug of the caller, for a field it does not have."""
        super().__call__(event, **fields)
        with self._one_at_a_time:
            self.count(event)


log = CountedLog()
