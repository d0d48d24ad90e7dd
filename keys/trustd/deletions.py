"""Deleted keys: out of use at once, recoverable for 90 days, then gone.

A deleted key has a record beside its versions that says since when. While it is there the name is
taken and nothing is found under it, but for recovery and purge.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sealserve.keys.refused import Refused
from sealserve.keys.trustd.audit import AuditLog, Entry
from sealserve.keys.trustd.records import Record, Records

KIND: Final = "deletion"
KEY: Final = "key"
RECOVERABLE_DAYS: Final = 90  # Azure's default
_SCHEDULE: Final = "schedule"  # who purges what nobody recovered


@dataclass(frozen=True, slots=True)
class Deletion:
    """name: of the key. deleted, purge: seconds since 1970."""

    name: str
    deleted: int
    purge: int

    def told(self, url: str) -> dict[str, object]:
        """What a deleted key's answer says besides."""
        return {
            "deletedDate": self.deleted,
            "recoveryId": f"{url}/deletedkeys/{self.name}",
            "scheduledPurgeDate": self.purge,
        }


class Deletions:
    """The deleted keys of one vault."""

    def __init__(self, records: Records, audit: AuditLog) -> None:
        self._records = records
        self._audit = audit

    def find(self, name: str) -> Deletion | None:
        """Since when the key is deleted; None if it is not."""
        record = self._records.find(KIND, name)
        return _deletion(record) if record else None

    def names(self, after: str, most: int) -> list[Deletion]:
        """Those behind `after`, by name."""
        return [_deletion(each) for each in self._records.newest(KIND, after=after, most=most)]

    def require_free(self, name: str) -> None:
        """A name can be used for a key. Raises Refused (409)."""
        if self.find(name):
            raise Refused(
                409,
                "Conflict",
                f"The key {name} is deleted and still recoverable, so its name is taken; "
                "recover or purge it.",
            )

    def add(self, name: str, now: datetime, by: str) -> Deletion:
        """Delete a key that is there, inside of a transaction that looked."""
        until = now + timedelta(days=RECOVERABLE_DAYS)
        about = {"deleted": int(now.timestamp()), "purge": int(until.timestamp())}
        record = Record(KIND, name, "1", about, b"")
        with self._audit.transaction():
            self._records.add(record)
            self._audit.append(Entry.KEY_DELETED, by=by, key=name, **about)
        return _deletion(record)

    def recover(self, name: str, by: str) -> None:
        """As if it had not been deleted."""
        with self._audit.transaction():
            self._records.remove(KIND, name, "1")
            self._audit.append(Entry.KEY_RECOVERED, by=by, key=name)

    def purge(self, name: str, by: str) -> None:
        """Forget a deleted key: its versions cannot be had again."""
        with self._audit.transaction():
            for record in self._records.versions(KEY, name):
                self._records.remove(KEY, name, record.version)
            self._records.remove(KIND, name, "1")
            self._audit.append(Entry.KEY_PURGED, by=by, key=name)

    def purge_expired(self, now: datetime) -> int:
        """Purge what nobody recovered in time; how many keys."""
        deletions = map(_deletion, self._records.all_of(KIND))
        expired = [each for each in deletions if each.purge <= now.timestamp()]
        for each in expired:
            self.purge(each.name, _SCHEDULE)
        return len(expired)


def _deletion(record: Record) -> Deletion:
    about: Any = record.about
    return Deletion(record.name, about["deleted"], about["purge"])
