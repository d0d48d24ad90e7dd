"""The audit log of a folder, for people and programs that look at it beside the service."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sealserve.keys.trustd import deletions
from sealserve.keys.trustd.audit import Entry, Row, rows, verified
from sealserve.keys.trustd.audit_check import Checked, check
from sealserve.keys.trustd.database import Database
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.records import Records
from sealserve.keys.trustd.state import State
from sealserve.native.errors import ConfigError

_MAX_KEY_BYTES = 4096
_HEAD = re.compile(r"[0-9a-f]{64}")


def verify(folder: Folder, key: Path | None, *, head: str = "") -> Checked:
    """Check the whole log, and with the master key also that the vault is as it tells.

    key: a file with the log's public key, kept apart from the folder; None takes the one that the
    master key vouches for. head: as `audit_check.check` has it.
    Raises IntegrityError, ConfigError, UnavailableError.
    """
    if head and not _HEAD.fullmatch(head):
        raise ConfigError("is 64 digits 0-9a-f", key="--head")
    with ExitStack() as stack:
        database, records, public = _opened(stack, folder, key)
        # one view of both, while the service goes on
        with database.snapshot():
            checked = check(verified(rows(database), public), head=head)
            if records is not None:
                checked.require_told_of(
                    records.all_of(deletions.KEY), records.all_of(deletions.KIND)
                )
    return checked


def shown(folder: Folder, key: Path | None) -> Iterator[Row]:
    """Each row once it was verified. Raises as `verify`."""
    with ExitStack() as stack:
        database, _, public = _opened(stack, folder, key)
        yield from verified(rows(database), public)


def exported(row: Row) -> str:
    """One line of JSON, enough to verify the row with other tools (AUDIT.md)."""
    value = {
        "head": row.head,
        "number": row.number,
        "row": row.text.decode(),
        "signature": base64.b64encode(row.signature).decode(),
    }
    return json.dumps(value, sort_keys=True)


def explained(row: Row) -> str:
    """One line for people."""
    told = row.told
    what: dict[str, Any] = told["told"]
    key = "/".join(what[name] for name in ("key", "version") if what.get(name))
    key = f" {key}" if key else ""
    return f"{row.number} {told['time']} {told['entry']}{key}{_more(told['entry'], what)}"


def _more(entry: str, what: dict[str, Any]) -> str:
    claims = what.get("claims", {})
    host_data = claims.get("x-ms-sevsnpvm-hostdata")
    machine = f" host data {host_data}, token {claims.get('jti')}" if host_data else ""
    if entry == Entry.RELEASE_REFUSED:
        return f"{machine}: {what['reason'].splitlines()[0]}"
    if entry == Entry.RELEASES_REFUSED:
        who = "with" if what["attested"] else "without"
        return f": {what['count']} more {who} a genuine token since {what['since']}"
    if entry == Entry.RELEASED:
        return f"{machine}, wrapped to {what['wrapping_key']}"
    return machine


def _opened(
    stack: ExitStack, folder: Folder, key: Path | None
) -> tuple[Database, Records | None, Ed25519PublicKey]:
    if key is not None:
        public = _public_key(key)
        return stack.enter_context(closing(folder.opened())), None, public
    records = stack.enter_context(closing(folder.records()))
    return records.database, records, State.load(records).audit_key.public_key()


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_KEY_BYTES)
        key = serialization.load_pem_public_key(pem)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            "is no Ed25519 public key (PEM)",
            file=str(path),
            hint="`sealserve trustd init` writes audit.pem",
        )
    return key
