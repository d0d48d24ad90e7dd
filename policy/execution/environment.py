"""Environment rules: which variables a policy lets through, and which it insists on.

Matching is the guest's (hcsshim pkg/securitypolicy/framework.rego): `string` is equality with
`NAME=VALUE`, `re2` is an RE2 pattern over the same text. Guests before June 2025 matched patterns
anywhere in the text, so that `HOSTNAME=.+` let `LD_PRELOAD=/x.so:HOSTNAME=1` through
(microsoft/hcsshim#2431): our patterns carry anchors that hold for any guest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sealserve.policy.execution.patterns import UnusableError, as_guest, compiled

_PATTERN_PREFIX = "re2:"

# One value per name and a literal name in front: what an anchored pattern may look like without
# being wrapped in a group first.
_ANCHORED = re.compile(r"\^[^|]*(?<!\\)\$")


@dataclass(frozen=True)
class EnvRule:
    """One entry of `env_rules`. pattern: `NAME=VALUE`, or an RE2 pattern over that text."""

    pattern: str
    strategy: Literal["string", "re2"] = "string"
    required: bool = False

    def fields(self) -> dict[str, object]:
        """The JSON object a policy holds for this rule."""
        return {"pattern": self.pattern, "required": self.required, "strategy": self.strategy}


def rule(text: str) -> EnvRule:
    """Read `NAME=VALUE` or `re2:PATTERN` as people type it; the pattern gets its anchors."""
    if text.startswith(_PATTERN_PREFIX):
        return EnvRule(anchored(text.removeprefix(_PATTERN_PREFIX)), "re2")
    return EnvRule(text)


def check(made: EnvRule) -> None:
    """Raise UnusableError for a rule no guest could apply: no name, NUL, not UTF-8, not RE2."""
    check_text(made.pattern)
    if made.strategy == "re2":
        compiled(as_guest(made.pattern))
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


def check_text(text: str) -> None:
    """Refuse what cannot stand in a policy or be handed to a process: NUL, bytes outside UTF-8."""
    if "\0" in text:
        raise UnusableError(
            f"{text!r} holds a NUL character", "leave it out: no process can be given one"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnusableError(f"{text!r} is not UTF-8", "a policy is UTF-8: use base64") from None
