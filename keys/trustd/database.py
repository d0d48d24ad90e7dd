"""The one SQLite file of a service: transactions that are on the disk when they end.

What one transaction holds is there whole or not at all after kill -9 and a power cut, so a key and
the row of the audit log that tells of it (audit.py) are never one without the other.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sealserve.native.errors import UnavailableError

BUSY_SECONDS = 5.0  # another process of ours, such as `trustd token add`, is writing
_NOT_UNIQUE = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)


class Database:
    """Safe to use from several threads and processes."""

    def __init__(self, path: Path, schema: str) -> None:
        """schema: SQL that makes what is not there yet.

        Raises UnavailableError if the file cannot be used, as everything here does.
        """
        self.path = path
        self._lock = threading.RLock()
        with self._translated():
            self._connection = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(schema)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def query(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """All rows of a SELECT."""
        with self._lock, self._translated():
            return self._connection.execute(statement, values).fetchall()

    def execute(self, statement: str, values: Sequence[object]) -> None:
        """Change something, inside of `transaction`. ValueError for what has to be unique."""
        with self._lock, self._translated():
            assert self._connection.in_transaction
            try:
                self._connection.execute(statement, values)
            except sqlite3.IntegrityError as error:
                if error.sqlite_errorcode not in _NOT_UNIQUE:
                    raise
                raise ValueError(str(error)) from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One writer at a time, all of it or nothing; inside of another one, part of that."""
        with self._lock, self._translated():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Every query inside sees the same moment, while others go on writing."""
        with self._lock, self._translated():
            self._connection.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UnavailableError(
                f"{self.path} cannot be used: {error}", hint="is the disk full, or the file ours?"
            ) from error
