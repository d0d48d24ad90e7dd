"""One trust service: what each request is answered, whoever carries it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sealserve.attestation.token import MAX_TOKEN_BYTES
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused, bad_parameter, forbidden
from sealserve.keys.trustd import material
from sealserve.keys.trustd.attest import attest
from sealserve.keys.trustd.audit import AuditLog, Entry
from sealserve.keys.trustd.bearers import CREATE, NOBODY, OWNER, READ, Bearers
from sealserve.keys.trustd.events import Event, log
from sealserve.keys.trustd.leaves import Leaves
from sealserve.keys.trustd.pages import Page
from sealserve.keys.trustd.records import Records
from sealserve.keys.trustd.release import Wanted
from sealserve.keys.trustd.state import State
from sealserve.keys.trustd.token_keys import TokenKeyRing
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
        self._audit = AuditLog(records.database, self.state.audit_key, clock=clock)
        self._ring = TokenKeyRing(records, self._audit)
        self.tokens = Tokens(self.state.issuer, self._ring, clock)
        self._bearers = Bearers(records, self._audit)
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
        self.renew_keys(now)

    def settle(self) -> None:
        """What was counted and not told yet gets its row in the audit log."""
        self._vault.settle()

    def renew_keys(self, now: datetime) -> None:
        """A successor for the token key if it is old; deleted keys go when their time is over."""
        self.settle()
        self._vault.purge_expired()
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
        who = self._require(CREATE, bearer)
        return _logged(self._vault.create(name, body, who))

    def bring(self, bearer: str, name: str, body: Body) -> Answer:
        """A new version of a key, made elsewhere."""
        who = self._require(CREATE, bearer)
        return _logged(self._vault.bring(name, body, who))

    def update(self, bearer: str, name: str, version: str, body: Body) -> Answer:
        """Other attributes, tags or another policy for one version of a key."""
        who = self._require(CREATE, bearer)
        return _logged(self._vault.update(name, version, body, who), Event.KEY_CHANGED)

    def get(self, bearer: str, name: str, version: str) -> Answer:
        """The public part of a key."""
        self._require(READ, bearer)
        return self._vault.get(name, version)

    def names(self, bearer: str, page: Page) -> Answer:
        """All keys."""
        self._require(READ, bearer)
        return self._vault.names(page)

    def versions(self, bearer: str, name: str, page: Page) -> Answer:
        """All versions of a key."""
        self._require(READ, bearer)
        return self._vault.versions(name, page)

    def delete(self, bearer: str, name: str) -> Answer:
        """Take a key out of use."""
        who = self._require(OWNER, bearer)
        told = self._vault.delete(name, who)
        log(Event.KEY_DELETED, key=name)
        return told

    def deleted_names(self, bearer: str, page: Page) -> Answer:
        """All deleted keys."""
        self._require(READ, bearer)
        return self._vault.deleted_names(page)

    def deleted(self, bearer: str, name: str) -> Answer:
        """A deleted key."""
        self._require(READ, bearer)
        return self._vault.deleted(name)

    def recover(self, bearer: str, name: str) -> Answer:
        """Put a deleted key back into use."""
        who = self._require(OWNER, bearer)
        told = self._vault.recover(name, who)
        log(Event.KEY_RECOVERED, key=name)
        return told

    def purge(self, bearer: str, name: str) -> None:
        """Forget a deleted key."""
        who = self._require(OWNER, bearer)
        self._vault.purge(name, who)
        log(Event.KEY_PURGED, key=name)

    def wrap(self, bearer: str, name: str, version: str, body: Body) -> Answer:
        """Somebody's key under one of ours."""
        who = self._require(OWNER, bearer)
        return self._vault.wrap(name, version, body, who)

    def random(self, bearer: str, body: Body) -> Answer:
        """Random bytes."""
        self._require(OWNER, bearer)
        return {"value": material.random(body)}

    def release(self, bearer: str, name: str, version: str, body: Body, api_version: str) -> Answer:
        """A key for the machine its policy allows: the attestation token is the credential.

        A key with a release role asks for a bearer token as well.
        """
        if not bearer:
            raise self._challenge()
        enc = body.text("enc") if body.has("enc") else ""
        who = self._bearers.of(bearer)
        released = self._vault.release(
            Wanted(name, version, body.text("target"), enc, api_version, who)
        )
        log(
            Event.RELEASED,
            key=name,
            version=released.attempt.version,
            host_data=str(released.attempt.claims.get("x-ms-sevsnpvm-hostdata")),
        )
        return {"value": released.value}

    def _require(self, role: str, bearer: str) -> str:
        """Whose token it is, if that may do this."""
        who = self._bearers.of(bearer) if bearer else NOBODY
        if who is NOBODY:
            raise self._challenge()
        if not who.may(role):
            roles = ", ".join(who.roles)
            raise forbidden(f"the credential {who.name!r} has the roles {roles}; wanted {role}")
        return who.name

    def _challenge(self) -> Refused:
        url = self.state.url
        told = f'Bearer authorization="{url}/trustd", resource="{url}"'
        return Refused(
            401,
            "Unauthorized",
            "AKV10000: Request is missing a Bearer or PoP token that this vault accepts.",
            headers={"WWW-Authenticate": told},
        )


def _logged(bundle: Answer, event: Event = Event.KEY_MADE) -> Answer:
    *_, name, version = bundle["key"]["kid"].split("/")
    log(event, key=name, version=version)
    return bundle
