"""Patterns as the guest matches them: RE2, and anchored by looking at their first and last letter.

Since June 2025 a guest adds `^` and `$` where they are missing (microsoft/hcsshim#2431), to the
text and not to what it means: `A=1|B=2` becomes `^A=1|B=2$`, which leaves both ends open.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from sealserve.native.errors import printable
from sealserve.policy.execution.lines import cut

# RE2 in C++ has `\C` for a single byte; the guest's, in Go, refuses it (regexp/syntax).
_ONE_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")
MAX_PATTERN_CHARS = 4096  # keeps a compiled pattern far below RE2's own memory limit


class UnusableError(ValueError):
    """Text that cannot be a rule, a word of a command or a path; the caller says where it is."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def as_guest(pattern: str) -> str:
    """The pattern that the guest compiles."""
    start = "" if pattern.startswith("^") else "^"
    end = "" if pattern.endswith("$") else "$"
    return f"{start}{pattern}{end}"


def matches(pattern: object, text: object) -> bool:
    """Whether a guest finds `pattern` in `text`; nothing matches a pattern that RE2 refuses.

    Call `require_engine` before: without RE2 nothing matches at all.
    """
    if not isinstance(pattern, str) or not isinstance(text, str):
        return False
    try:
        return compiled(as_guest(pattern))(text)
    except UnusableError:
        return False


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> Callable[[str], bool]:
    """A search for `pattern`, its anchors included. Raises UnusableError if RE2 refuses it."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise UnusableError(
            f"a pattern of {len(pattern)} characters; at most {MAX_PATTERN_CHARS}",
            "make several shorter ones of it",
        )
    if _ONE_BYTE.search(pattern):
        raise UnusableError(
            cut(f"guests refuse {pattern!r}: \\C is not in their RE2"), "`.` is any character"
        )
    re2 = require_engine()
    options = re2.Options()
    options.log_errors = False  # RE2 would print them itself
    try:
        found = re2.compile(pattern, options)
    except re2.error as error:
        raise UnusableError(
            cut(f"RE2 refuses {pattern!r}: {_words(error)}"),
            "RE2 has no look-around and no backreferences",
        ) from None

    def search(text: str) -> bool:
        try:
            return found.search(text) is not None
        except UnicodeEncodeError:  # bytes outside UTF-8 match no pattern
            return False

    return search


def require_engine() -> Any:
    """RE2. Raises UnusableError that says what to install where it is missing."""
    # Imported here: a client verifies servers without it, a policy without patterns as well.
    try:
        import re2
    except ImportError:
        raise UnusableError(
            "patterns need the package google-re2, which is not installed",
            "pip install 'sealserve[owner]'",
        ) from None
    return re2


def _words(error: Exception) -> str:
    """RE2 hands its message over as bytes."""
    told = error.args[0] if error.args else ""
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    return printable(text)
