"""Bearer tokens and what each may do: names people know, digests of what they hold.

    owner         everything below, and delete, recover, purge, wrap, random bytes
    create        make, import and change keys; read
    read          list keys and read their public part
    release:NAME  release keys whose release role is NAME, as far as their policy allows it

A token has 256 random bits, so that a plain digest keeps it; the token itself is kept nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sealserve.keys.trustd.audit import AuditLog, Entry
from sealserve.keys.trustd.records import Record, Records
from sealserve.native.errors import ConfigError

KIND: Final = "bearer"
OWNER: Final = "owner"
CREATE: Final = "create"
READ: Final = "read"
RELEASE: Final = "release:"
MAX_BEARERS: Final = 64  # every one is compared at each request
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_INCLUDED: Final = {OWNER: {OWNER, CREATE, READ}, CREATE: {CREATE, READ}}
_TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who holds a token, by the name its operator gave. made: when."""

    name: str
    roles: tuple[str, ...]
    made: datetime

    def may(self, role: str) -> bool:
        """Whether one of the roles is this one, or includes it."""
        return any(role in _INCLUDED.get(mine, {mine}) for mine in self.roles)


NOBODY: Final = Bearer("", (), datetime.fromtimestamp(0, UTC))


class Bearers:
    """The tokens of one service; what changed elsewhere counts at the next request."""

    def __init__(self, records: Records, audit: AuditLog) -> None:
        self._records = records
        self._audit = audit

    def add(self, name: str, roles: Collection[str], now: datetime) -> str:
        """A new token for `name`: the only copy there is.

        Raises ConfigError for a name that is taken or a role that is none.
        """
        _require_name(name)
        wanted = tuple(sorted({_role(role) for role in roles}))
        if not wanted:
            raise ConfigError("is missing: a token without a role can do nothing", key="--role")
        token = base64.urlsafe_b64encode(os.urandom(_TOKEN_BYTES)).rstrip(b"=").decode()
        about = {"made": int(now.timestamp()), "roles": list(wanted)}
        record = Record(KIND, name, "1", about, _digest(token))
        with self._audit.transaction():
            known = self._records.all_of(KIND)
            if any(each.name == name for each in known):
                raise ConfigError(
                    f"there is a token {name!r} already", hint="remove it first, or name another"
                )
            if len(known) >= MAX_BEARERS:
                raise ConfigError(f"there are {MAX_BEARERS} tokens already")
            self._records.add(record)
            self._audit.append(Entry.BEARER_ADDED, bearer=name, roles=list(wanted))
        return token

    def remove(self, name: str) -> None:
        """End a token, from the next request on. Raises ConfigError if there is none."""
        with self._audit.transaction():
            if self._records.find(KIND, name) is None:
                raise ConfigError(f"there is no token {name[:64]!r}")
            self._records.remove(KIND, name, "1")
            self._audit.append(Entry.BEARER_REMOVED, bearer=name)

    def all(self) -> list[Bearer]:
        """Everybody who holds one."""
        return [_bearer(record) for record in self._records.all_of(KIND)]

    def of(self, token: str) -> Bearer:
        """Whose token this is; NOBODY's if it is none of ours."""
        seen, found = _digest(token), NOBODY
        for record in self._records.all_of(KIND):
            if hmac.compare_digest(seen, record.secret):
                found = _bearer(record)
        return found


def _bearer(record: Record) -> Bearer:
    about: Any = record.about
    made = datetime.fromtimestamp(about["made"], UTC)
    return Bearer(record.name, tuple(about["roles"]), made)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:64]!r} is no name for a token", hint="a-z, 0-9 and dashes")


def _role(role: str) -> str:
    release = role.removeprefix(RELEASE) if role.startswith(RELEASE) else ""
    if role not in (OWNER, CREATE, READ) and not _NAME.fullmatch(release):
        raise ConfigError(
            f"{role[:80]!r} is no role; wanted {OWNER}, {CREATE}, {READ} or {RELEASE}NAME",
            key="--role",
        )
    return role


def is_release_role(name: str) -> bool:
    """Whether a key can ask for this role."""
    return _NAME.fullmatch(name) is not None
