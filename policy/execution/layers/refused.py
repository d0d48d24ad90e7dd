"""A layer that cannot be converted, and how its entries are named in words."""

from __future__ import annotations

MAX_NAME_SHOWN = 120  # characters of somebody else's name: a path may have a megabyte


class RefusedError(ValueError):
    """Why a layer has no root: the entry, what was seen, and what would be taken."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def refuse(name: bytes, message: str, hint: str = "") -> RefusedError:
    """The refusal of one entry, by its name."""
    return RefusedError(f"entry {shown(name)}: {message}", hint)


def shown(name: bytes) -> str:
    """A name for people: cut, and without anything that moves a cursor."""
    text = name[: 4 * MAX_NAME_SHOWN].decode("utf-8", "backslashreplace")
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"'{safe[:MAX_NAME_SHOWN]}…'" if len(safe) > MAX_NAME_SHOWN else f"'{safe}'"
