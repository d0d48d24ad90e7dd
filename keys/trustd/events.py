"""What the trust service writes down: who was attested, what was released, what went wrong."""

from __future__ import annotations

import enum
from typing import Final

from sealserve.keys.closed_log import ClosedLog


class Event(enum.StrEnum):
    """What can be logged."""

    ATTESTED = "attested"
    KEY_MADE = "key_made"
    KEY_CHANGED = "key_changed"
    KEY_DELETED = "key_deleted"
    KEY_RECOVERED = "key_recovered"
    KEY_PURGED = "key_purged"
    RELEASED = "released"
    REFUSED = "refused"
    THROTTLED = "throttled"
    FAILED = "failed"
    CERTIFICATES_RENEWED = "certificates_renewed"
    SIGNING_KEY_ADDED = "signing_key_added"


FIELDS: Final[dict[Event, frozenset[str]]] = {
    Event.ATTESTED: frozenset({"host_data"}),
    Event.KEY_MADE: frozenset({"key", "version"}),
    Event.KEY_CHANGED: frozenset({"key", "version"}),
    Event.KEY_DELETED: frozenset({"key"}),
    Event.KEY_RECOVERED: frozenset({"key"}),
    Event.KEY_PURGED: frozenset({"key"}),
    Event.RELEASED: frozenset({"key", "version", "host_data"}),
    # reason: our own words and what a token or a report said, cut short; never a secret
    Event.REFUSED: frozenset({"what", "status", "reason"}),
    Event.THROTTLED: frozenset({"peer"}),
    Event.FAILED: frozenset({"what", "error"}),
    Event.CERTIFICATES_RENEWED: frozenset(),
    Event.SIGNING_KEY_ADDED: frozenset(),
}
log = ClosedLog(FIELDS)
