"""A stranger's words on a line of ours."""

from __future__ import annotations

MAX_CHARS = 400


def one_line(text: str) -> str:
    """A policy is somebody else's: no word of it may break a line or move a cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, limit: int = MAX_CHARS) -> str:
    """The beginning of it, where it is longer than a line bears."""
    return text if len(text) <= limit else f"{text[:limit]}…"
