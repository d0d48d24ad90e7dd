"""Records at rest. Each is one AEAD whose associated data is all of it that is not secret.

So a database without its master key tells names and policies and no secret, and a record whose
place in the order, name, version, type, attributes or release policy was changed opens nothing.
What cannot be seen from inside is that the whole database was replaced by an older copy of itself,
or that the newest records were taken away.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealserve.native.errors import IntegrityError, UnavailableError

MASTER_KEY_BYTES = 32
# NIST SP 800-38D section 8.3: random nonces of 96 bits are good for 2^32 records under one key.
_NONCE_BYTES = 12
_DOMAIN = b"sealserve/trustd/record/v1\0"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number  INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    about   BLOB NOT NULL,
    nonce   BLOB NOT NULL,
    sealed  BLOB NOT NULL,
    UNIQUE (kind, name, version)
) STRICT
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
    """One SQLite file under one master key; safe to use from several threads."""

    def __init__(self, path: Path, master_key: bytes) -> None:
        """Raises UnavailableError if the file cannot be used, as everything here does."""
        self._path = path
        self._aead = AESGCM(master_key)
        self._lock = threading.Lock()
        with self._translated():
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            # a record that was answered for survives kill -9 and a power cut
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def add(self, record: Record) -> None:
        """Keep a new record; it is on the disk when this returns.

        ValueError if there is one of this kind, name and version.
        """
        with self._lock, self._translated(), self._transaction():
            newest = self._database.execute("SELECT max(number) FROM records").fetchone()[0]
            try:
                self._database.execute(
                    "INSERT INTO records (number, kind, name, version, about, nonce, sealed)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    self._sealed((newest or 0) + 1, record),
                )
            except sqlite3.IntegrityError:
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
        with self._lock, self._translated(), self._transaction():
            row = self._database.execute(
                f"{_COLUMNS} WHERE kind = ? AND name = ? AND version = ?", (kind, name, version)
            ).fetchone()
            if row is None:
                return None
            before = self._opened(*row)
            after = replace(before, about=edit(before.about))
            *_, about, nonce, sealed = self._sealed(row[0], after)
            self._database.execute(
                "UPDATE records SET about = ?, nonce = ?, sealed = ?"
                " WHERE kind = ? AND name = ? AND version = ?",
                (about, nonce, sealed, kind, name, version),
            )
        return after

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

    def newest(self, kind: str) -> list[Record]:
        """The newest record of each name, by name. Raises as `find`."""
        return self._select(
            "WHERE number IN (SELECT max(number) FROM records WHERE kind = ? GROUP BY name)"
            " ORDER BY name",
            (kind,),
        )

    def _select(self, where: str, values: tuple[str, ...]) -> list[Record]:
        with self._lock, self._translated():
            rows = self._database.execute(f"{_COLUMNS} {where}", values).fetchall()
        return [self._opened(*row) for row in rows]

    def _sealed(
        self, number: int, record: Record
    ) -> tuple[int, str, str, str, bytes, bytes, bytes]:
        about = _about(number, record)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, record.secret, _DOMAIN + about)
        return number, record.kind, record.name, record.version, about, nonce, sealed

    def _opened(
        self,
        number: int,
        kind: str,
        name: str,
        version: str,
        about: bytes,
        nonce: bytes,
        sealed: bytes,
    ) -> Record:
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
            f"{self._path}: the record {kind} {name[:80]} does not open",
            hint="it was altered, or this is not the master key it was sealed under",
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One writer at a time, so that numbers tell the order; all of it or nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UnavailableError(
                f"{self._path} cannot be used: {error}", hint="is the disk full, or the file ours?"
            ) from error


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
