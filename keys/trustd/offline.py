"""What its operator changes about a service from beside it, while it runs or not.

Each change is a row of the audit log; a running service sees it at its next request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sealserve.keys import keyfile
from sealserve.keys.trustd.audit import AuditLog
from sealserve.keys.trustd.bearers import Bearer, Bearers
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.passphrase import require_usable, seal
from sealserve.keys.trustd.records import Records
from sealserve.keys.trustd.state import State
from sealserve.keys.trustd.token_keys import TokenKeyRing


@dataclass(frozen=True, slots=True)
class Opened:
    """A service that is not running here."""

    records: Records
    state: State
    audit: AuditLog


def rotate_token_key(folder: Folder, now: datetime) -> str:
    """A new token key; its `kid`. Raises ConfigError, IntegrityError, UnavailableError."""
    with opened(folder) as service:
        ring = TokenKeyRing(service.records, service.audit)
        return ring.rotate(service.state.token_title, now).kid


def add_bearer(folder: Folder, name: str, roles: Collection[str], now: datetime, out: Path) -> None:
    """A bearer token with these roles, its only copy in the new file `out`. Raises as above.

    Where the file cannot be written, there is no token either.
    """
    with opened(folder) as service, service.audit.transaction():
        token = Bearers(service.records, service.audit).add(name, roles, now)
        keyfile.write_new(out, f"{token}\n".encode(), mode=0o600)


def remove_bearer(folder: Folder, name: str) -> None:
    """End a bearer token. Raises as above."""
    with opened(folder) as service:
        Bearers(service.records, service.audit).remove(name)


def bearers(folder: Folder) -> list[Bearer]:
    """Who holds a token, and for what. Raises as above."""
    with opened(folder) as service:
        return Bearers(service.records, service.audit).all()


def put_behind(folder: Folder, passphrase: bytes) -> None:
    """The master key behind this passphrase, whatever it was behind until now. Raises as above.

    The key stays what it is, and with it every record: a copy of the folder from before still
    opens with what opened it then. A kill may leave the old master.key beside master.sealed.
    """
    require_usable(passphrase)
    key = folder.master_key_bytes()
    with closing(Records(folder.opened(), key)) as records:
        State.load(records)  # so that it is the key of this service
    keyfile.replace(folder.master_sealed, seal(key, passphrase), mode=0o600)
    folder.master_key.unlink(missing_ok=True)


@contextmanager
def opened(folder: Folder) -> Iterator[Opened]:
    """The service of a folder. Raises as above."""
    with closing(folder.records()) as records:
        state = State.load(records)
        yield Opened(records, state, AuditLog(records.database, state.audit_key))
