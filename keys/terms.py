"""On what terms one version of a key leaves its vault, whatever its type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sealserve.native.errors import Finding


@dataclass(frozen=True, slots=True)
class Terms:
    """key: its URL, or the file that the policy stands in. policy: as stored, empty for none.

    not_before, expires: when it can be used. role: what a caller has to have beside a token, as
    our trust service knows it.
    """

    key: str
    policy: bytes
    enabled: bool = True
    exportable: bool = True
    not_before: datetime | None = None
    expires: datetime | None = None
    role: str = ""

    def unmet(self, now: datetime) -> Iterator[Finding]:
        """What keeps the key where it is, whoever asks."""
        if not self.enabled:
            yield Finding("enabled", "false", "true", "`sealserve key enable` puts it back")
        if not self.exportable:
            yield Finding("exportable", "false", "true", "it was made so; make another key")
        if self.not_before is not None and now < self.not_before:
            yield Finding("nbf", now.isoformat(), f"from {self.not_before.isoformat()} on")
        if self.expires is not None and now >= self.expires:
            yield Finding("exp", now.isoformat(), f"before {self.expires.isoformat()}")
        if not self.policy:
            yield Finding("release_policy", "none", "one that the token meets")
