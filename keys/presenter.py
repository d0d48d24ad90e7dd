"""Presents a machine: its evidence to the attestation service, the token for it to the vault."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from sealserve.attestation.evidence import Evidence, EvidenceSource
from sealserve.attestation.token import TokenKeys
from sealserve.keys.attest import root_to_show
from sealserve.keys.issuer_keys import IssuerKeys
from sealserve.keys.session import KeyRelease, ReleaseRequest


class Attests(Protocol):
    """What a release needs of an attestation service."""

    def attest(self, evidence: Evidence, *, ark: bytes | None = None) -> str:
        """A token for this evidence; ark: the root of its chain if it has none, DER."""

    def close(self) -> None:
        """Close the connections."""

    def keys(self, issuer: str) -> TokenKeys:
        """The issuer's signing keys, fetched anew."""


class Releases(Protocol):
    """What a release needs of a vault."""

    def release(self, request: ReleaseRequest) -> str:
        """The vault's signed answer."""

    def close(self) -> None:
        """Close the connections."""


class Presenter:
    """Moves the bytes of releases at one attestation service; usable from several threads."""

    def __init__(
        self, issuer: str, service: Attests, source: EvidenceSource, clock: Callable[[], datetime]
    ) -> None:
        self._service = service
        self._source = source
        self._clock = clock
        self._keys = IssuerKeys(issuer, service.keys)

    def answer(self, session: KeyRelease, vault: Releases) -> str:
        """The vault's signed answer, for the session to accept.

        Raises EvidenceError, ReleaseError, UnavailableError.
        """
        evidence = self._source.evidence(session.claims())
        token = self._service.attest(evidence, ark=root_to_show(evidence))
        now = self._clock()
        request = session.accept_token(token, self._keys.of(token, now), now=now)
        return vault.release(request)
