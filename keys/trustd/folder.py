"""What lies in a trust service's folder.

master.key        32 bytes, mode 0600: opens every record; back it up apart from the database.
master.sealed     in its place, where a passphrase opens it (passphrase.py)
trustd.sqlite     the records and the audit log
ca.pem            certificate of its authority, for whoever wants to pin it
audit.pem         public key of its audit log, for whoever checks one
connection.toml   the owner's way in, mode 0600: move it to the owner's machine
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from sealserve.keys.trustd import audit, passphrase, records
from sealserve.keys.trustd.database import Database
from sealserve.keys.trustd.records import MASTER_KEY_BYTES, Records
from sealserve.native.errors import ConfigError

SCHEMA = records.SCHEMA + audit.SCHEMA
Passphrase = Callable[[], bytes]


def no_passphrase() -> bytes:
    """What somebody has who was given none."""
    raise ConfigError("is missing: a passphrase opens this service", key="--passphrase-file")


class Folder:
    """The names in one folder, and how to open what they name."""

    def __init__(self, path: Path, passphrase: Passphrase = no_passphrase) -> None:
        """passphrase: asked for only where one is needed."""
        self.path = path
        self._passphrase = passphrase
        self.master_key = path / "master.key"
        self.master_sealed = path / "master.sealed"
        self.database = path / "trustd.sqlite"
        self.ca = path / "ca.pem"
        self.audit = path / "audit.pem"
        self.connection = path / "connection.toml"

    def records(self) -> Records:
        """Open the records. Raises ConfigError, IntegrityError, UnavailableError."""
        key = self.master_key_bytes()
        return Records(self.opened(), key)

    def opened(self) -> Database:
        """Open the database without any key: names, policies, the audit log. Raises as above."""
        if not self.database.is_file():
            raise ConfigError("is missing", file=str(self.database))
        return Database(self.database, SCHEMA)

    def master_key_bytes(self) -> bytes:
        """The master key, whatever it is behind. Raises ConfigError, IntegrityError."""
        if not self.master_sealed.exists():
            key = private_file(self.master_key, MASTER_KEY_BYTES)
        elif self.master_key.exists():
            raise ConfigError(
                "stands beside master.sealed",
                file=str(self.master_key),
                hint="one of them is another service's, or `trustd passphrase` was interrupted: "
                "then master.sealed is whole, and master.key can go",
            )
        else:
            data = private_file(self.master_sealed, passphrase.MAX_FILE_BYTES)
            key = passphrase.open_sealed(data, self._passphrase(), str(self.master_sealed))
        if len(key) != MASTER_KEY_BYTES:
            raise ConfigError(f"is not {MASTER_KEY_BYTES} bytes long", file=str(self.master_key))
        return key


def private_file(path: Path, most: int) -> bytes:
    """What stands in a file that nobody else can use, and up to a byte more than `most` of it.

    Raises ConfigError.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}",
            file=str(path),
            hint="`sealserve trustd init` makes a trust service",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"others may use it (mode {stat.S_IMODE(mode):04o})",
            file=str(path),
            hint=f"chmod 600 {path}; and think about who has seen it",
        )
    return data
