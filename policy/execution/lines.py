"""A stranger's words on a line of ours."""

from __future__ import annotations

MAX_CHARS = 400


def cut(text: str, limit: int = MAX_CHARS) -> str:
    """The beginning of it, where it is longer than a line bears."""
    return text if len(text) <= limit else f"{text[:limit]}…"
