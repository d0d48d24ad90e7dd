"""Checking an audit log: is it whole, and does it hold up?

Whole: every row in its place, linked to the one before, signed (audit.py). Holds up: every release
is of a key version that the log knows, under the policy that was in force then, on evidence that
meets this policy; and every key in the vault is just as the log tells it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sealserve.keys.trustd.audit import NO_HEAD, Entry, Row
from sealserve.keys.trustd.policies import stored_policy
from sealserve.keys.trustd.records import Record
from sealserve.native.errors import ConfigError, IntegrityError, ReleaseError
from sealserve.policy.release import ReleasePolicy

_NEW: Final = frozenset({Entry.KEY_CREATED, Entry.KEY_IMPORTED})
_LIVES: Final = frozenset({Entry.KEY_DELETED, Entry.KEY_RECOVERED, Entry.KEY_PURGED})
_CUT: Final = "its newest rows were taken away, or the records put back to what they were"
KeyVersion = tuple[str, str]


@dataclass(slots=True)
class Checked:
    """What the rows have told so far.

    rows: how many. head: of the newest, 64 hex digits. releases: how many keys left. keys: what is
    known of each key version, by name and version. deleted: names of keys that are.
    """

    rows: int = 0
    head: str = NO_HEAD
    releases: int = 0
    keys: dict[KeyVersion, Mapping[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def require_told_of(self, keys: Iterable[Record], deletions: Iterable[Record]) -> None:
        """Each key of the vault is as the log has it, and so is what is deleted.

        Raises IntegrityError.
        """
        if {record.name for record in deletions} != self.deleted:
            raise IntegrityError("other keys are deleted than the audit log tells", hint=_CUT)
        there = {(record.name, record.version): record.about for record in keys}
        for version in sorted(there.keys() | self.keys.keys()):
            if there.get(version) != self.keys.get(version):
                raise IntegrityError(
                    f"the key {'/'.join(version)} is not in the vault as the audit log tells",
                    hint=_CUT,
                )

    def _take(self, row: Row) -> None:
        told = row.told
        entry, what = told["entry"], told["told"]
        if (entry == Entry.SERVICE_CREATED) != (row.number == 1):
            raise _does_not_hold(row, "a log begins where its service was made, and only there")
        if entry in _NEW or entry == Entry.KEY_CHANGED:
            self._take_key(row, what, new=entry in _NEW)
        elif entry in _LIVES:
            self._take_life(row, what["key"], entry)
        elif entry == Entry.RELEASED:
            self._take_release(row, what)
        self.rows, self.head = row.number, row.head

    def _take_key(self, row: Row, what: Mapping[str, Any], *, new: bool) -> None:
        version = what["key"], what["version"]
        if (version in self.keys) == new:
            raise _does_not_hold(row, "a key version is made once and changed afterwards")
        self.keys[version] = what["about"]

    def _take_life(self, row: Row, name: str, entry: str) -> None:
        if (name in self.deleted) == (entry == Entry.KEY_DELETED):
            raise _does_not_hold(row, "what is deleted was in use, and what comes back was not")
        if entry == Entry.KEY_DELETED:
            self.deleted.add(name)
            return
        self.deleted.remove(name)
        if entry == Entry.KEY_PURGED:
            self.keys = {
                version: about for version, about in self.keys.items() if version[0] != name
            }

    def _take_release(self, row: Row, what: Mapping[str, Any]) -> None:
        about = self.keys.get((what["key"], what["version"]))
        if what["key"] in self.deleted:
            raise _does_not_hold(row, "the key was deleted")
        if about is None:
            raise _does_not_hold(row, "no row before it tells of this key version")
        policy = stored_policy(about)
        if hashlib.sha256(policy).hexdigest() != what["policy_sha256"]:
            raise _does_not_hold(row, "another release policy was in force")
        try:
            ReleasePolicy.parse(policy).evaluate(what["claims"])
        except (ConfigError, ReleaseError) as error:
            raise _does_not_hold(row, error.message) from error
        self.releases += 1


def check(rows: Iterable[Row], *, head: str = "") -> Checked:
    """Walk through verified rows (`audit.verified`).

    head: one that was the newest once, as somebody remembers it; "" if nobody does, and then it is
    not noticed that the newest rows, or the whole database with them, went back to what they were.
    Raises IntegrityError.
    """
    checked, remembered = Checked(), not head
    for row in rows:
        checked._take(row)
        remembered = remembered or row.head == head
    if not checked.rows:
        raise IntegrityError("the audit log is empty", hint="it has a row from its creation on")
    if not remembered:
        raise IntegrityError(
            f"the head {head} is not in this audit log; its newest is {checked.head}, "
            f"row {checked.rows}",
            hint="rows were cut off, or the database was replaced by an older copy of itself",
        )
    return checked


def _does_not_hold(row: Row, why: str) -> IntegrityError:
    return IntegrityError(f"row {row.number} of the audit log does not hold up: {why}")
