"""One trust service: what each request is answered, whoever carries it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sealserve.attestation.token import MAX_TOKEN_BYTES
from sealserve.keys.trustd.attest import attest
from sealserve.keys.trustd.audit import AuditLog, Entry
from sealserve.keys.trustd.body import Body
from sealserve.keys.trustd.events import Event, log
from sealserve.keys.trustd.leaves import Leaves
from sealserve.keys.trustd.records import Records
from sealserve.keys.trustd.refused import Refused, bad_parameter
from sealserve.keys.trustd.release import Wanted
from sealserve.keys.trustd.state import State
from sealserve.keys.trustd.token_keys import TokenKeyRing
from sealserve.keys.trustd.tokens import Tokens
from sealserve.keys.trustd.vault import KeyVault

OWNER = "owner"
ANYBODY = ""  # a release needs no credential but its attestation token
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
        self._audit = AuditLog(records.database, self.state.audit_key, clock=clock)
        self._ring = TokenKeyRing(records, self._audit)
        self.tokens = Tokens(self.state.issuer, self._ring, clock)
        self._roots = self.state.roots()
        self._clock = clock
        self._vault = KeyVault(
            records, self.state.address, self.tokens, self.leaves.sign, self._audit, clock=clock
        )

    def renew(self, now: datetime) -> None:
        """What has a date: certificates anew, and a token key that is old gets a successor.

        Raises UnavailableError, IntegrityError; what is in use stays valid for a while.
        """
        self.leaves.renew(now)
        log(Event.CERTIFICATES_RENEWED)
        self.renew_token_key(now)

    def renew_token_key(self, now: datetime) -> None:
        """A successor for the token key if it is old."""
        if self._ring.rotate_if_old(self.state.token_title, now):
            log(Event.SIGNING_KEY_ADDED)

    def attest(self, kind: str, body: Body) -> Answer:
        """A token about a report. Raises Refused, as everything here does."""
        if kind.lower() != SEV_SNP:
            raise Refused(404, "NotFound", f"no attestation of the kind {kind[:40]!r}; SevSnpVm is")
        now = self._clock()
        told = attest(body, self._roots, self.state.launch, now)
        claims = self.tokens.claims(told, now)
        token = self.tokens.sign(claims)
        if len(token) > MAX_TOKEN_BYTES:  # nobody would accept it, this vault included
            raise bad_parameter(f"a token of {len(token)} bytes; at most {MAX_TOKEN_BYTES}")
        self._audit.append(Entry.ATTESTED, claims=claims)
        log(Event.ATTESTED, host_data=str(claims["x-ms-sevsnpvm-hostdata"]))
        return {"token": token}

    def create(self, bearer: str, name: str, body: Body) -> Answer:
        """A new version of a key."""
        self._require_owner(bearer)
        return _logged(self._vault.create(name, body, OWNER))

    def bring(self, bearer: str, name: str, body: Body) -> Answer:
        """A new version of a key, made elsewhere."""
        self._require_owner(bearer)
        return _logged(self._vault.bring(name, body, OWNER))

    def update(self, bearer: str, name: str, version: str, body: Body) -> Answer:
        """Other attributes, tags or another policy for one version of a key."""
        self._require_owner(bearer)
        return _logged(self._vault.update(name, version, body, OWNER), Event.KEY_CHANGED)

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
        enc = body.text("enc") if body.has("enc") else ""
        wanted = Wanted(name, version, body.text("target"), enc, api_version, ANYBODY)
        released = self._vault.release(wanted)
        log(
            Event.RELEASED,
            key=name,
            version=released.attempt.version,
            host_data=str(released.attempt.claims.get("x-ms-sevsnpvm-hostdata")),
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
