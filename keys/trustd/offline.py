"""What its operator changes about a service from beside it, while it runs or not.

Each change is a row of the audit log; a running service sees it at its next request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sealserve.keys.trustd.audit import AuditLog
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.records import Records
from sealserve.keys.trustd.state import State
from sealserve.keys.trustd.token_keys import TokenKeyRing


@dataclass(frozen=True, slots=True)
class Opened:
    """A service that is not running here."""

    records: Records
    state: State
    audit: AuditLog


def rotate_token_key(directory: Path, now: datetime) -> str:
    """A new token key; its `kid`. Raises ConfigError, IntegrityError, UnavailableError."""
    with opened(directory) as service:
        ring = TokenKeyRing(service.records, service.audit)
        return ring.rotate(service.state.token_title, now).kid


@contextmanager
def opened(directory: Path) -> Iterator[Opened]:
    """The service of a folder. Raises as above."""
    with closing(Folder(directory).records()) as records:
        state = State.load(records)
        yield Opened(records, state, AuditLog(records.database, state.audit_key))
