"""Records at rest. Each is one AEAD whose associated data is all of it that is not secret.

So a database without its master key tells names and policies and no secret, and a record whose
place in the order, name, version, type, attributes or release policy was changed opens nothing.
What cannot be seen from inside is that the whole database was replaced by an older copy of itself,
or that the newest records were taken away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealserve.keys.trustd.database import Database
from sealserve.native.errors import IntegrityError

MASTER_KEY_BYTES = 32
# NIST SP 800-38D section 8.3: random nonces of 96 bits are good for 2^32 records under one key.
_NONCE_BYTES = 12
_DOMAIN = b"sealserve/trustd/record/v1\0"
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number  INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    about   BLOB NOT NULL,
    nonce   BLOB NOT NULL,
    sealed  BLOB NOT NULL,
    UNIQUE (kind, name, version)
) STRICT;
"""
_COLUMNS = "SELECT number, kind, name, version, about, nonce, sealed FROM records"


@dataclass(frozen=True, slots=True)
class Record:
    """about: everything that is not secret, as JSON values. secret: kept out of `repr`."""

    kind: str
    name: str
    version: str
    about: Mapping[str, object]
    secret: bytes

    def __repr__(self) -> str:
        return f"Record({self.kind}, {self.name}, {self.version})"


class Records:
    """The records of one database under one master key; safe to use from several threads."""

    def __init__(self, database: Database, master_key: bytes) -> None:
        """Raises UnavailableError if the database cannot be used, as everything here does."""
        self.database = database
        self._aead = AESGCM(master_key)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def add(self, record: Record) -> None:
        """Keep a new record; it is on the disk when this, or the transaction around it, returns.

        ValueError if there is one of this kind, name and version.
        """
        with self.database.transaction():
            ((newest,),) = self.database.query("SELECT coalesce(max(number), 0) FROM records")
            assert isinstance(newest, int)
            try:
                self.database.execute(
                    "INSERT INTO records (number, kind, name, version, about, nonce, sealed)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    self._sealed(newest + 1, record),
                )
            except ValueError:
                raise ValueError(f"there is a record {record!r}") from None

    def change(
        self,
        kind: str,
        name: str,
        version: str,
        edit: Callable[[Mapping[str, object]], Mapping[str, object]],
    ) -> Record | None:
        """Replace what is not secret of one record; None if there is none.

        What `edit` raises goes through, and nothing has changed. Raises as `find`.
        """
        with self.database.transaction():
            rows = self.database.query(
                f"{_COLUMNS} WHERE kind = ? AND name = ? AND version = ?", (kind, name, version)
            )
            if not rows:
                return None
            before = self._opened(rows[0])
            after = replace(before, about=edit(before.about))
            *_, about, nonce, sealed = self._sealed(_number(rows[0]), after)
            self.database.execute(
                "UPDATE records SET about = ?, nonce = ?, sealed = ?"
                " WHERE kind = ? AND name = ? AND version = ?",
                (about, nonce, sealed, kind, name, version),
            )
        return after

    def remove(self, kind: str, name: str, version: str) -> None:
        """Forget one record for good; nothing if there is none."""
        with self.database.transaction():
            self.database.execute(
                "DELETE FROM records WHERE kind = ? AND name = ? AND version = ?",
                (kind, name, version),
            )

    def find(self, kind: str, name: str, version: str = "") -> Record | None:
        """The record, without a version the newest of this name; None if there is none.

        Raises IntegrityError if it was altered, or sealed under another master key.
        """
        found = self._select(
            "WHERE kind = ? AND name = ? AND (? = '' OR version = ?) ORDER BY number DESC LIMIT 1",
            (kind, name, version, version),
        )
        return found[0] if found else None

    def versions(self, kind: str, name: str) -> list[Record]:
        """All records of this name, oldest first. Raises as `find`."""
        return self._select("WHERE kind = ? AND name = ? ORDER BY number", (kind, name))

    def newest(
        self, kind: str, *, after: str = "", most: int = -1, without: str = ""
    ) -> list[Record]:
        """The newest record of each name, by name. Raises as `find`.

        after: only names behind this one. most: -1 is all. without: leaves out names that have a
        record of this other kind.
        """
        return self._select(
            "WHERE number IN (SELECT max(number) FROM records WHERE kind = ? AND name > ?"
            " AND name NOT IN (SELECT name FROM records WHERE kind = ?) GROUP BY name)"
            " ORDER BY name LIMIT ?",
            (kind, after, without, most),
        )

    def all_of(self, kind: str) -> list[Record]:
        """Every version of every name, in the order they came. Raises as `find`."""
        return self._select("WHERE kind = ? ORDER BY number", (kind,))

    def _select(self, where: str, values: tuple[str | int, ...]) -> list[Record]:
        return [self._opened(row) for row in self.database.query(f"{_COLUMNS} {where}", values)]

    def _sealed(
        self, number: int, record: Record
    ) -> tuple[int, str, str, str, bytes, bytes, bytes]:
        about = _about(number, record)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, record.secret, _DOMAIN + about)
        return number, record.kind, record.name, record.version, about, nonce, sealed

    def _opened(self, row: tuple[Any, ...]) -> Record:
        number, kind, name, version, about, nonce, sealed = row
        try:
            secret = self._aead.decrypt(nonce, sealed, _DOMAIN + about)
        except (InvalidTag, ValueError):
            raise self._altered(kind, name) from None
        told = json.loads(about)
        said = told["number"], told["kind"], told["name"], told["version"]
        if said != (number, kind, name, version):
            raise self._altered(kind, name)
        return Record(kind, name, version, told["about"], secret)

    def _altered(self, kind: str, name: str) -> IntegrityError:
        return IntegrityError(
            f"{self.database.path}: the record {kind} {name[:80]} does not open",
            hint="it was altered, or this is not the master key it was sealed under",
        )


def _number(row: tuple[object, ...]) -> int:
    number = row[0]
    assert isinstance(number, int)  # the table is STRICT
    return number


def _about(number: int, record: Record) -> bytes:
    """The one text of what is not secret, authenticated as it stands in the database."""
    value = {
        "about": record.about,
        "kind": record.kind,
        "name": record.name,
        "number": number,
        "version": record.version,
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
