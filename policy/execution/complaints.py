"""Gathers what is wrong with a template, so that one run shows all of it.

A reader says what it saw and what was wanted at a `Place`, goes on with something harmless, and
whoever called it raises at the end: nothing is written once there is a complaint.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from sealserve.native.errors import ConfigError, printable

MAX_SHOWN = 25  # complaints in one message; more are counted
_MAX_CHARACTERS = 120  # of one value: somebody else's file may hold a megabyte
_MAX_WHERE = 200  # characters of a place


@dataclass(frozen=True)
class Complaint:
    """One fault: where, both sides, and the way out."""

    where: str
    seen: str
    wanted: str
    hint: str

    def __str__(self) -> str:
        line = f"  - {self.where}: seen {self.seen}; wanted {self.wanted}"
        return f"{line}\n    hint: {self.hint}"


@dataclass
class Complaints:
    """strict: whether what confcom lets pass is a fault as well."""

    strict: bool
    found: list[Complaint] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def check(self, file: str = "") -> None:
        """Raises ConfigError with every complaint there is."""
        if not self.found:
            return
        count = len(self.found)
        lines = [f"{count} fault{'s' if count > 1 else ''}, and no policy was written"]
        lines += [str(complaint) for complaint in self.found[:MAX_SHOWN]]
        if count > MAX_SHOWN:
            lines.append(f"  … and {count - MAX_SHOWN} more")
        raise ConfigError("\n".join(lines), file=file)

    def place(self, name: str) -> Place:
        return Place(self, shown(name) if name else "")


@dataclass(frozen=True)
class Place:
    """A container, or a group, and a field of it. path: as it stands in the file."""

    complaints: Complaints
    container: str
    path: str = ""

    @property
    def strict(self) -> bool:
        return self.complaints.strict

    def at(self, key: str | int) -> Place:
        """A field, or an entry, of what is here."""
        step = f"[{key}]" if isinstance(key, int) else f".{shown(key)}" if self.path else shown(key)
        return Place(self.complaints, self.container, f"{self.path}{step}")

    def entries(self, value: object, wanted: str = "a list") -> list[tuple[Place, object]]:
        """A list with the place of each entry; nothing is an empty one, anything else refused."""
        if value and not isinstance(value, list):
            self.refuse(value, wanted, "write […], or in YAML one dash for each entry")
        listed = value if isinstance(value, list) else []
        return [(self.at(index), entry) for index, entry in enumerate(listed)]

    @property
    def where(self) -> str:
        return ", ".join(part for part in (self.container, self.path) if part)

    def refuse(self, seen: object, wanted: str, hint: str) -> None:
        """seen: a JSON value, words of ours as `Told`, or what says itself what it lacks."""
        if isinstance(seen, Unresolved):
            wanted, hint = seen.wanted, seen.hint
        told = seen if isinstance(seen, Told) else shown(as_json(seen))
        where = shown(self.where, _MAX_WHERE) or "file"
        self.complaints.found.append(Complaint(where, told, shown(wanted), hint))

    def refuse_if_strict(self, seen: object, wanted: str, hint: str) -> None:
        """The same, where confcom says nothing and writes a policy that does not work."""
        if self.strict:
            self.refuse(seen, wanted, hint)

    def remark(self, words: str) -> None:
        """Something to look at twice; the policy is written all the same."""
        self.complaints.remarks.append(f"{self.where}: {words}" if self.where else words)


class Told(str):
    """Words of ours, printable already."""

    __slots__ = ()


NOTHING = Told("nothing")


@dataclass(frozen=True)
class Unresolved:
    """A text that a deployment would replace, and we cannot."""

    text: str
    wanted: str
    hint: str

    def __str__(self) -> str:
        return self.text


def as_json(value: object) -> str:
    return json.dumps(value, default=str)  # ASCII: half characters must not raise here


def shown(text: str, limit: int = _MAX_CHARACTERS) -> str:
    """A template is somebody else's: no word of it may fill a screen or move a cursor."""
    kept = printable(text[: limit + 1])
    return kept if len(kept) <= limit else f"{kept[:limit]}…"
