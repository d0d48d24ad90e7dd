"""The server's log: events from this list, fields from this list, nothing else.

One JSON object a line on stderr. No field can hold a tensor, a key, a header or the text of an
exception: whoever wants another event adds it here, where a reviewer sees it.
"""

from __future__ import annotations

import enum
import sys
from typing import Final

import structlog


class Event(enum.StrEnum):
    """What can be logged."""

    HARDENED = "hardened"
    PLATFORM_FOUND = "platform_found"
    IDENTITY_WITHOUT_ATTESTATION = "identity_without_attestation"
    CERTIFICATES_MADE = "certificates_made"
    MODEL_OPENED = "model_opened"
    READY = "ready"
    CERTIFICATES_ROTATED = "certificates_rotated"
    ROTATION_FAILED = "rotation_failed"
    REQUEST_FAILED = "request_failed"
    DRAINING = "draining"
    STOPPED = "stopped"


FIELDS: Final[dict[Event, frozenset[str]]] = {
    Event.HARDENED: frozenset({"weights", "why_no_mount"}),
    Event.PLATFORM_FOUND: frozenset({"platform"}),
    Event.IDENTITY_WITHOUT_ATTESTATION: frozenset({"platform"}),
    Event.CERTIFICATES_MADE: frozenset({"seconds"}),
    Event.MODEL_OPENED: frozenset({"model", "version", "root", "release_seconds", "open_seconds"}),
    Event.READY: frozenset({"host", "port", "models"}),
    Event.CERTIFICATES_ROTATED: frozenset({"seconds"}),
    Event.ROTATION_FAILED: frozenset({"error"}),
    Event.REQUEST_FAILED: frozenset({"method", "error"}),
    Event.DRAINING: frozenset({"seconds"}),
    Event.STOPPED: frozenset(),
}
Value = str | int | float | bool

_logger = structlog.wrap_logger(
    structlog.PrintLogger(sys.stderr),
    processors=[
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.JSONRenderer(sort_keys=True),
    ],
)


def log(event: Event, **fields: Value) -> None:
    """Write one event; ValueError, a bug of the caller, for a field it does not have."""
    if fields.keys() != FIELDS[event]:
        raise ValueError(f"event {event} has the fields {sorted(FIELDS[event])}")
    _logger.info(event.value, **fields)
