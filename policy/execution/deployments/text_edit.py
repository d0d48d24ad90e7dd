"""Changes to a text that leave every other byte of it as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sealserve.native.errors import ConfigError


@dataclass(frozen=True)
class Edit:
    """Put `text` in place of what stands from `start` to `end`."""

    start: int
    end: int
    text: str


def applied(text: str, edits: Sequence[Edit]) -> str:
    """The text with all of them; they do not overlap."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def require_same(seen: object, wanted: object) -> None:
    """Whether the changed text reads as it should. Raises ConfigError."""
    if seen != wanted:
        raise ConfigError(
            "its layout is one the policy cannot be put into without touching the rest",
            hint="write the policy with -o, and put it in by hand",
        )


def line_end(text: str) -> str:
    """How the lines of this text end."""
    return "\r\n" if "\r\n" in text else "\n"
