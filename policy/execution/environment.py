"""Environment rules: which variables a policy lets through, and which it insists on.

Matching is the guest's (hcsshim pkg/securitypolicy/framework.rego): `string` is equality with
`NAME=VALUE`, `re2` is an RE2 pattern over the same text. Guests before June 2025 matched patterns
anywhere in the text, so that `HOSTNAME=.+` let `LD_PRELOAD=/x.so:HOSTNAME=1` through
(microsoft/hcsshim#2431): our patterns carry their anchors, and here the whole text has to match.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MAX_PATTERN_CHARS = 4096  # keeps a compiled pattern far below RE2's own memory limit
_PATTERN_PREFIX = "re2:"

# One value per name and a literal name in front: what an anchored pattern may look like without
# being wrapped in a group first.
_ANCHORED = re.compile(r"\^[^|]*(?<!\\)\$")


class UnusableError(ValueError):
    """Text that cannot be a rule, a word of a command or a path; the caller says where it is."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class EnvRule:
    """One entry of `env_rules`. pattern: `NAME=VALUE`, or an RE2 pattern over that text."""

    pattern: str
    strategy: Literal["string", "re2"] = "string"
    required: bool = False

    def fields(self) -> dict[str, object]:
        """The JSON object a policy holds for this rule."""
        return {"pattern": self.pattern, "required": self.required, "strategy": self.strategy}

    def matches(self, variable: str) -> bool:
        """Whether `NAME=VALUE` is let through. Raises UnusableError for a pattern RE2 refuses."""
        if self.strategy == "string":
            return variable == self.pattern
        return _compiled(self.pattern)(variable)


def rule(text: str) -> EnvRule:
    """Read `NAME=VALUE` or `re2:PATTERN` as people type it; the pattern gets its anchors."""
    if text.startswith(_PATTERN_PREFIX):
        return EnvRule(anchored(text.removeprefix(_PATTERN_PREFIX)), "re2")
    return EnvRule(text)


def check(made: EnvRule) -> None:
    """Raise UnusableError for a rule no guest could apply: no name, NUL, not UTF-8, not RE2."""
    check_text(made.pattern)
    if made.strategy == "re2":
        _compiled(made.pattern)
        return
    name, equals, _ = made.pattern.partition("=")
    if not (name and equals):
        raise UnusableError(
            f"{made.pattern!r} is not NAME=VALUE",
            "a variable's value may be empty; a pattern is written re2:PATTERN",
        )


def anchored(pattern: str) -> str:
    """`pattern` so that only the whole `NAME=VALUE` can match it, whoever evaluates it.

    Alternatives and flags are put into a group first: `^A=1|B=2$` would leave both ends open, and
    `(?m)` would move the anchors to line ends.
    """
    if _ANCHORED.fullmatch(pattern) and "(?" not in pattern:
        return pattern
    if "|" in pattern or "(?" in pattern or pattern.startswith("^") or pattern.endswith("$"):
        return f"^(?:{pattern})$"
    return f"^{pattern}$"


def allowed(rules: Sequence[EnvRule], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that match a rule; the others are dropped, as the guest does."""
    return {
        name: value
        for name, value in environment.items()
        if any(entry.matches(f"{name}={value}") for entry in rules)
    }


def missing(rules: Iterable[EnvRule], environment: Mapping[str, str]) -> list[EnvRule]:
    """Required rules that no variable meets."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [
        entry
        for entry in rules
        if entry.required and not any(entry.matches(variable) for variable in variables)
    ]


def check_text(text: str) -> None:
    """Refuse what cannot stand in a policy or be handed to a process: NUL, bytes outside UTF-8."""
    if "\0" in text:
        raise UnusableError(f"{text!r} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnusableError(f"{text!r} is not UTF-8") from None


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> Callable[[str], bool]:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise UnusableError(f"a pattern of {len(pattern)} characters; at most {MAX_PATTERN_CHARS}")
    re2 = _re2()
    options = re2.Options()
    options.log_errors = False  # RE2 would print them itself
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise UnusableError(
            f"RE2 refuses {pattern!r}: {_words(error)}",
            "RE2 has no look-around and no backreferences",
        ) from None

    def matches(variable: str) -> bool:
        try:
            return compiled.fullmatch(variable) is not None
        except UnicodeEncodeError:  # bytes outside UTF-8 match no rule
            return False

    return matches


def _re2() -> Any:
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
    return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
