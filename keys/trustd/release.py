"""One release while it is decided: what is asked for, what is known of who asks, what leaves.

Whatever it comes to is a row of the audit log before anybody is answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from sealserve.keys.refused import Refused
from sealserve.keys.trustd.bearers import Bearer


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for a key. version: "" is the newest. enc: "" is the vault's default.

    bearer: whose token it came with, NOBODY for none of ours.
    """

    name: str
    version: str
    target: str
    enc: str
    api_version: str
    bearer: Bearer


@dataclass(slots=True)
class Attempt:
    """What is known so far; what is not known yet is not in the row.

    claims: of the token once it was verified. policy: of the key once it was found.
    """

    wanted: Wanted
    version: str = ""
    policy: bytes = b""
    claims: Mapping[str, object] = field(default_factory=dict)

    def told(self) -> dict[str, object]:
        """For the log. Names are cut, because anybody may ask for any."""
        return {
            "by": self.wanted.bearer.name,
            "claims": dict(self.claims),
            "key": self.wanted.name[:127],
            "policy_sha256": hashlib.sha256(self.policy).hexdigest() if self.policy else "",
            "version": self.version or self.wanted.version[:32],
        }


@dataclass(frozen=True, slots=True)
class Released:
    """value: the signed answer; attempt: what it was decided on, already in the audit log."""

    value: str
    attempt: Attempt


def refusal(refused: Refused) -> dict[str, object]:
    """Why not, as it is answered."""
    return {"code": refused.code, "reason": refused.message[:2000], "status": refused.status}
