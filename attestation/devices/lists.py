"""AMD's revocation list for stapling: kept in memory and on disk, fetched in the background.

A client that wants to know about revocation needs the list in the evidence, as it asks nobody but
the server. So the list is renewed long before it lapses, and only a good one is ever handed out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from sealserve.attestation.certs import Certificate
from sealserve.attestation.crl import Crl
from sealserve.attestation.devices.cache import Cache, list_name
from sealserve.attestation.devices.kds import Kds
from sealserve.attestation.devices.leaves import Endorsed
from sealserve.attestation.roots import Roots
from sealserve.attestation.verify import SignedReport
from sealserve.native.errors import EvidenceError, UnavailableError

FETCH_SECONDS: Final = 60.0  # with all retries


class Lists:
    """Revocation lists for one machine; usable from several threads. service: None asks nobody."""

    def __init__(
        self,
        *,
        roots: Roots,
        cache: Cache,
        clock: Callable[[], datetime],
        service: Kds | None = None,
    ) -> None:
        self._roots = roots
        self._cache = cache
        self._clock = clock
        self._service = service
        self._lock = threading.Lock()
        self._held: dict[str, bytes] = {}

    def current(self, endorsed: Endorsed) -> bytes | None:
        """The newest list at hand for this chain that is of now, DER; None if there is none."""
        name = _name(endorsed.signed)
        with self._lock:
            held = self._held.get(name)
        data = held or self._cache.get(name)
        return data if data is not None and self.offer(endorsed, data) else None

    def offer(self, endorsed: Endorsed, data: bytes) -> bool:
        """Whether a list is good for this chain; the newer of it and ours is kept in memory."""
        name = _name(endorsed.signed)
        try:
            made = self._checked(endorsed, data).this_update
        except EvidenceError:
            return False
        with self._lock:
            held = self._held.get(name)
            if held is None or Crl.parse(held).this_update < made:
                self._held[name] = data
        return True

    def refresh(self, endorsed: Endorsed) -> None:
        """Fetch the current list. UnavailableError if none came that can be believed."""
        if self._service is None:
            raise UnavailableError("nobody is asked for revocation lists here")
        signed = endorsed.signed
        data = self._service.revocation_list(signed.line, signed.signing_key, seconds=FETCH_SECONDS)
        if not self.offer(endorsed, data):
            raise UnavailableError(
                f"{self._service.url} answered with a list that is not AMD's or not of now",
                hint="is the clock right?",
            )
        self._cache.put(_name(signed), data)

    def _checked(self, endorsed: Endorsed, data: bytes) -> Crl:
        """A list by the root of this chain, of now. One that revokes the chain is a good list."""
        found = Crl.parse(data)
        intermediate = Certificate.parse(endorsed.candidate.intermediate)
        found.require_by(self._roots.anchor(intermediate.issuer, None))
        found.require_current(self._clock())
        return found


def _name(signed: SignedReport) -> str:
    return list_name(signed.line, signed.signing_key)
