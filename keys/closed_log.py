"""A log that can only say what was listed beforehand: closed events, each with closed fields.

One JSON object a line on stderr. No field can hold a tensor, a key, a header or the text of an
exception by accident: whoever wants another one adds it to a list, where a reviewer sees it.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from typing import Generic, TextIO, TypeVar

import structlog

Value = str | int | float | bool
Event = TypeVar("Event", bound=enum.StrEnum)


class ClosedLog(Generic[Event]):
    """Call it with an event and exactly that event's fields. fields: what each event has."""

    def __init__(self, fields: Mapping[Event, frozenset[str]]) -> None:
        self._fields = fields
        self.write_to(sys.stderr)

    def write_to(self, file: TextIO) -> None:
        """Where lines go from now on."""
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(file),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
        )

    def __call__(self, event: Event, **fields: Value) -> None:
        """Write one event; ValueError, a bug of the caller, for a field it does not have."""
        if fields.keys() != self._fields[event]:
            raise ValueError(f"event {event} has the fields {sorted(self._fields[event])}")
        self._logger.info(event.value, **fields)
