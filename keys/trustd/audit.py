"""The audit log: who got which key on what evidence, each row chained to the one before and signed.

The format stands in AUDIT.md. A row is committed in the transaction of what it tells of and before
the answer leaves. Rows that were edited, moved or taken out of the middle are noticed from inside;
that the newest ones are missing is noticed only by who remembers a head.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sealserve.keys.trustd.database import Database
from sealserve.native.errors import IntegrityError

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS audit (
    number    INTEGER PRIMARY KEY,
    row       BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
"""
NO_HEAD: Final = "0" * 64  # what the first row stands behind
_ROW: Final = b"sealserve/trustd/audit/row/v1\0"
_HEAD: Final = b"sealserve/trustd/audit/head/v1\0"
_COLUMNS: Final = "SELECT number, row, signature FROM audit"
_ROWS_AT_ONCE: Final = 1000


class Entry(enum.StrEnum):
    """What a row can tell."""

    SERVICE_CREATED = "service_created"
    ATTESTED = "attested"
    KEY_CREATED = "key_created"
    KEY_IMPORTED = "key_imported"
    KEY_CHANGED = "key_changed"
    KEY_DELETED = "key_deleted"
    KEY_RECOVERED = "key_recovered"
    KEY_PURGED = "key_purged"
    KEY_USED = "key_used"
    BEARER_ADDED = "bearer_added"
    BEARER_REMOVED = "bearer_removed"
    SIGNING_KEY_ADDED = "signing_key_added"
    RELEASED = "released"
    RELEASE_REFUSED = "release_refused"
    RELEASES_REFUSED = "releases_refused"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it lies in the database. text: JSON, exactly the bytes that were hashed."""

    number: int
    text: bytes
    signature: bytes

    @property
    def head(self) -> str:
        """64 hex digits that stand for this row and all before it."""
        return hashlib.sha256(_ROW + self.text).hexdigest()

    @property
    def told(self) -> dict[str, Any]:
        """What the row says; only of a row whose signature was verified."""
        value: dict[str, Any] = json.loads(self.text)
        return value


class AuditLog:
    """The log of one service."""

    def __init__(
        self,
        database: Database,
        key: Ed25519PrivateKey,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._key = key
        self._clock = clock

    def transaction(self) -> AbstractContextManager[None]:
        """What changes inside and the rows appended inside are on the disk together, or neither."""
        return self._database.transaction()

    def append(self, entry: Entry, **told: object) -> Row:
        """One row more, on the disk when this, or the transaction around it, returns.

        told: JSON values, none of them secret. Raises UnavailableError.
        """
        with self._database.transaction():
            newest = _rows(self._database, "ORDER BY number DESC LIMIT 1", ())
            number = newest[0].number + 1 if newest else 1
            value = {
                "entry": entry.value,
                "number": number,
                "previous": newest[0].head if newest else NO_HEAD,
                "time": self._clock().astimezone(UTC).isoformat(timespec="milliseconds"),
                "told": told,
            }
            text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
            row = Row(number, text, b"")
            row = Row(number, text, self._key.sign(_signed(row.head)))
            self._database.execute(
                "INSERT INTO audit (number, row, signature) VALUES (?, ?, ?)",
                (row.number, row.text, row.signature),
            )
        return row


def rows(database: Database, *, after: int = 0) -> Iterator[Row]:
    """Every row behind number `after`, oldest first, as it was written or made to look."""
    while True:
        found = _rows(database, "WHERE number > ? ORDER BY number LIMIT ?", (after, _ROWS_AT_ONCE))
        yield from found
        if not found:
            return
        after = found[-1].number


def verified(found: Iterable[Row], public: Ed25519PublicKey) -> Iterator[Row]:
    """The rows one by one, each after its place, its link and its signature were checked.

    Raises IntegrityError at the first that is not as the service wrote it.
    """
    head = NO_HEAD
    for number, row in enumerate(found, 1):
        if row.number != number:
            raise _broken(number, f"is missing; the next one is {row.number}")
        try:
            public.verify(row.signature, _signed(row.head))
        except InvalidSignature:
            raise _broken(number, "is not signed by this service") from None
        told = row.told
        if told["number"] != number:
            raise _broken(number, f"was written as row {told['number']}")
        if told["previous"] != head:
            raise _broken(number, f"stands behind another head than {head}")
        head = row.head
        yield row


def _rows(database: Database, where: str, values: tuple[int, ...]) -> list[Row]:
    found: list[Any] = database.query(f"{_COLUMNS} {where}", values)
    return [Row(*each) for each in found]


def _signed(head: str) -> bytes:
    return _HEAD + bytes.fromhex(head)


def _broken(number: int, why: str) -> IntegrityError:
    return IntegrityError(
        f"row {number} of the audit log {why}",
        hint="rows before it are as they were written; believe nothing behind them",
    )
