"""Refused releases in the audit log, as many as a disk can bear.

Anybody may ask for a key and be refused, so these rows are rationed: so many an hour tell of one
refusal each, and what goes beyond is counted. The count is a row of its own, written once the hour
is over: with the next refusal, the daily renewal or an orderly end. Those who show a token that is
genuine have a ration of their own, which nobody without a machine can use up. A kill loses a count
and no row.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sealserve.keys.trustd.audit import AuditLog, Entry

# Half a kilobyte each without a token, four with one: 24 MB a day at the very worst.
ROWS_AN_HOUR: Final = 200
WINDOW: Final = timedelta(hours=1)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Ration:
    """attested: whether for those with a genuine token. since: when its hour began."""

    attested: bool
    since: datetime = _NEVER
    told: int = 0
    untold: int = 0

    def is_over(self, now: datetime) -> bool:
        return not self.since <= now < self.since + WINDOW


class Refusals:
    """Usable from several threads."""

    def __init__(self, audit: AuditLog, *, rows_an_hour: int = ROWS_AN_HOUR) -> None:
        self._audit = audit
        self._most = rows_an_hour
        self._lock = threading.Lock()
        self._rations = {attested: _Ration(attested) for attested in (True, False)}

    def tell(self, now: datetime, *, attested: bool, **told: object) -> None:
        """A row for this refusal, or one more that is counted. Raises UnavailableError."""
        with self._lock:
            ration = self._rations[attested]
            if ration.is_over(now):
                self._settle(ration, now)
                ration.since, ration.told = now, 0
            if ration.told < self._most:
                self._audit.append(Entry.RELEASE_REFUSED, **told)
                ration.told += 1
            else:
                ration.untold += 1

    def settle(self, now: datetime) -> None:
        """Rows for what was counted so far. Raises UnavailableError; then it is still counted."""
        with self._lock:
            for ration in self._rations.values():
                self._settle(ration, now)

    def _settle(self, ration: _Ration, now: datetime) -> None:
        if ration.untold:
            self._audit.append(
                Entry.RELEASES_REFUSED,
                attested=ration.attested,
                count=ration.untold,
                since=ration.since.isoformat(timespec="seconds"),
                until=now.isoformat(timespec="seconds"),
            )
            ration.untold = 0
