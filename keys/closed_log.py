"""A log that can only say what was listed beforehand: closed events, each with closed fields.

One JSON object a line on stderr. No field can hold a tensor, a key, a header or the text of an
exception by accident: whoever wants another one adds it to a list, where a reviewer sees it.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Generic, TextIO, TypeVar

Value = str | int | float | bool
Event = TypeVar("Event", bound=enum.StrEnum)


class ClosedLog(Generic[Event]):
    """Call it with an event and exactly that event's fields. fields: what each event has."""

    def __init__(self, fields: Mapping[Event, frozenset[str]]) -> None:
        self._fields = fields
        self._file = sys.stderr

    def write_to(self, file: TextIO) -> None:
        """Where lines go from now on."""
        self._file = file

    def __call__(self, event: Event, **fields: Value) -> None:
        """Write one event; ValueError, a bug of the caller, for a field it does not have."""
        if fields.keys() != self._fields[event]:
            raise ValueError(f"event {event} has the fields {sorted(self._fields[event])}")
        time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = json.dumps({**fields, "event": event.value, "time": time}, sort_keys=True)
        self._file.write(line + "\n")  # in one piece: threads and processes write here
        self._file.flush()
