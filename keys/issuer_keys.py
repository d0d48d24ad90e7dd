"""The signing keys of one attestation service, kept between releases.

They are fetched from the place that the pinned issuer implies, never from a `jku`: anew when a
token names a key that is not among them, because the service took a new one, and anew after an
hour, so that a key it withdrew is not believed for as long as this process lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sealserve.attestation.token import TokenKeys

KEPT: Final = timedelta(hours=1)  # a service publishes a new key long before it signs with it


@dataclass(frozen=True, slots=True)
class _Fetched:
    keys: TokenKeys
    at: datetime


class IssuerKeys:
    """fetch: the keys of an issuer, as its service has them now. Usable from several threads."""

    def __init__(self, issuer: str, fetch: Callable[[str], TokenKeys]) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._fetched = _Fetched(TokenKeys({}), datetime.min.replace(tzinfo=UTC))

    def of(self, token: str, now: datetime) -> TokenKeys:
        """Keys to verify this token with; whether its own is among them is for `verify_token`.

        Raises EvidenceError for a token or keys that cannot be read, and what `fetch` does; then
        the keys from before stay.
        """
        known = self._fetched
        if not known.keys.knows(token) or not known.at <= now < known.at + KEPT:
            known = self._fetched = _Fetched(self._fetch(self._issuer), now)
        return known.keys
