"""What lies in a trust service's folder.

master.key        32 bytes, mode 0600: opens every record; back it up apart from the database
trustd.sqlite     the records
ca.pem            certificate of its authority, for whoever wants to pin it
audit.pem         public key of its audit log, for whoever checks one
connection.toml   the owner's way in, mode 0600: move it to the owner's machine
"""

from __future__ import annotations

import stat
from pathlib import Path

from sealserve.keys.trustd import audit, records
from sealserve.keys.trustd.database import Database
from sealserve.keys.trustd.records import MASTER_KEY_BYTES, Records
from sealserve.native.errors import ConfigError

SCHEMA = records.SCHEMA + audit.SCHEMA


class Folder:
    """The names in one folder, and how to open what they name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.master_key = path / "master.key"
        self.database = path / "trustd.sqlite"
        self.ca = path / "ca.pem"
        self.audit = path / "audit.pem"
        self.connection = path / "connection.toml"

    def records(self) -> Records:
        """Open the records. Raises ConfigError, UnavailableError."""
        key = self._read_master_key()
        return Records(self.opened(), key)

    def opened(self) -> Database:
        """Open the database without any key: names, policies, the audit log. Raises as above."""
        if not self.database.is_file():
            raise ConfigError("is missing", file=str(self.database))
        return Database(self.database, SCHEMA)

    def _read_master_key(self) -> bytes:
        try:
            mode = self.master_key.stat().st_mode
            with self.master_key.open("rb") as file:
                key = file.read(MASTER_KEY_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"cannot be read: {error.strerror}",
                file=str(self.master_key),
                hint="`sealserve trustd init` makes a trust service",
            ) from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"others may use it (mode {stat.S_IMODE(mode):04o})",
                file=str(self.master_key),
                hint=f"chmod 600 {self.master_key}; and think about who has seen it",
            )
        if len(key) != MASTER_KEY_BYTES:
            raise ConfigError(f"is not {MASTER_KEY_BYTES} bytes long", file=str(self.master_key))
        return key
