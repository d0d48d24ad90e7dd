"""A denial as a cloud's log shows it: `policyDecision< BASE64 >policyDecision`.

Inside is JSON: the request (values of variables struck out), and the guest's reasons, or why the
policy could not be asked. It is cut to 3 KiB by leaving parts out, which it names (hcsshim
pkg/securitypolicy, securitypolicyenforcer_rego.go).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from sealserve.native.errors import ConfigError
from sealserve.policy import strict_json
from sealserve.policy.execution.denial_reasons import Reason, meant
from sealserve.policy.execution.framework.values import Fields, items, member
from sealserve.policy.execution.lines import cut

MAX_DENIAL_CHARS = 1024 * 1024

# A log that is JSON itself, or a page, spells the brackets otherwise.
_OPEN, _CLOSE = rb"(?:<|\\u003c|&lt;)", rb"(?:>|\\u003e|&gt;)"
_MARKED = re.compile(
    rb"policyDecision" + _OPEN + rb"\s*([A-Za-z0-9+/=\s]*?)\s*" + _CLOSE + rb"policyDecision"
)
_BARE = re.compile(rb"\s*[A-Za-z0-9+/\s]+=*\s*")


@dataclass(frozen=True)
class Denial:
    """One denial. request: what is left of it. truncated: what the guest left out."""

    request: Fields
    reasons: tuple[Reason, ...]
    policy_error: str
    truncated: tuple[str, ...]
    candidates: int

    @property
    def is_empty(self) -> bool:
        """Whether the guest gives no reason: no container met all conditions, each met some."""
        return not self.reasons and not self.policy_error


def find(data: bytes, *, file: str = "") -> list[Denial]:
    """Every denial in a log; none if it has none, or is something else altogether.

    Raises ConfigError for what is marked as a denial and is none.
    """
    marked = _MARKED.findall(data)
    if marked:
        return [_read(each, file) for each in marked]
    if not _BARE.fullmatch(data) or len(data) > MAX_DENIAL_CHARS:
        return []
    try:
        return [_read(data, file)]
    except ConfigError:
        return []  # base64 of something else


def _read(text: bytes, file: str) -> Denial:
    if len(text) > MAX_DENIAL_CHARS:
        raise ConfigError(f"a denial of {len(text)} characters", file=file)
    try:
        decoded = base64.b64decode(b"".join(text.split()), validate=True)
        read = strict_json.loads(decoded.decode("utf-8"))
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"the denial cannot be read: {cut(str(error), 100)}", file=file) from None
    if member(read, "decision") != "deny":
        raise ConfigError("is a policy decision, but no denial", file=file)
    return _denial(read)


def _denial(read: object) -> Denial:
    reason, request = member(read, "reason"), member(read, "input")
    texts = [each for each in items(member(reason, "errors")) if isinstance(each, str)]
    error = member(read, "policyError")
    if not isinstance(error, str):
        error = reason if isinstance(reason, str) else ""
    return Denial(
        request=request if isinstance(request, dict) else {},
        reasons=tuple(meant(text) for text in texts),
        policy_error=error,
        truncated=tuple(str(each) for each in items(member(read, "truncated"))),
        candidates=len(items(member(reason, "error_objects"))),
    )
