"""One trust service: what each request is answered, whoever carries it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sealserve.attestation.token import MAX_TOKEN_BYTES
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.keys.trustd.attest import attest
from sealserve.keys.trustd.events import Event, log
from sealserve.keys.trustd.leaves import Leaves
from sealserve.keys.trustd.records import Records
from sealserve.keys.trustd.state import State
from sealserve.keys.trustd.tokens import Tokens
from sealserve.keys.trustd.vault import KeyVault

SEV_SNP = "sevsnpvm"  # compared without case: the sidecars write SevSnpVM, the specification Vm
Answer = dict[str, Any]


class Service:
    """The attestation service and the vault in one process, under one name and one CA."""

    def __init__(
        self,
        records: Records,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises IntegrityError for records that were altered."""
        self.state = State.load(records)
        self.leaves = Leaves(self.state, clock())
        self.tokens = Tokens(self.state)
        self._roots = self.state.roots()
        self._clock = clock
        self._vault = KeyVault(
            records, self.state.address, self.tokens, self.leaves.sign, clock=clock
        )

    def attest(self, kind: str, body: Body) -> Answer:
        """A token about a report. Raises Refused, as everything here does."""
        if kind.lower() != SEV_SNP:
            raise Refused(404, "NotFound", f"no attestation of the kind {kind[:40]!r}; SevSnpVm is")
        now = self._clock()
        told = attest(body, self._roots, now)
        token = self.tokens.issue(told, now)
        if len(token) > MAX_TOKEN_BYTES:  # nobody would accept it, this vault included
            raise bad_parameter(f"a token of {len(token)} bytes; at most {MAX_TOKEN_BYTES}")
        log(Event.ATTESTED, host_data=str(told["x-ms-sevsnpvm-hostdata"]))
        return {"token": token}

    def create(self, bearer: str, name: str, body: Body) -> Answer:
        """A new version of a key."""
        self._require_owner(bearer)
        return _logged(self._vault.create(name, body))

    def bring(self, bearer: str, name: str, body: Body) -> Answer:
        """A new version of a key, made elsewhere."""
        self._require_owner(bearer)
        return _logged(self._vault.bring(name, body))

    def update(self, bearer: str, name: str, version: str, body: Body) -> Answer:
        """Other attributes, tags or another policy for one version of a key."""
        self._require_owner(bearer)
        return _logged(self._vault.update(name, version, body), Event.KEY_CHANGED)

    def get(self, bearer: str, name: str, version: str) -> Answer:
        """The public part of a key."""
        self._require_owner(bearer)
        return self._vault.get(name, version)

    def names(self, bearer: str) -> Answer:
        """All keys."""
        self._require_owner(bearer)
        return self._vault.names()

    def versions(self, bearer: str, name: str) -> Answer:
        """All versions of a key."""
        self._require_owner(bearer)
        return self._vault.versions(name)

    def release(self, bearer: str, name: str, version: str, body: Body, api_version: str) -> Answer:
        """A key for the machine its policy allows: the attestation token is the credential."""
        if not bearer:
            raise self._challenge()
        released = self._vault.release(name, version, body, api_version)
        log(
            Event.RELEASED,
            key=released.name,
            version=released.version,
            host_data=released.host_data,
        )
        return {"value": released.value}

    def _require_owner(self, bearer: str) -> None:
        if not bearer or not self.state.is_owner(bearer):
            raise self._challenge()

    def _challenge(self) -> Refused:
        url = self.state.url
        told = f'Bearer authorization="{url}/trustd", resource="{url}"'
        return Refused(
            401,
            "Unauthorized",
            "AKV10000: Request is missing a Bearer token that this vault accepts.",
            headers={"WWW-Authenticate": told},
        )


def _logged(bundle: Answer, event: Event = Event.KEY_MADE) -> Answer:
    *_, name, version = bundle["key"]["kid"].split("/")
    log(event, key=name, version=version)
    return bundle
