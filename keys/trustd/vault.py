"""The key vault: keys with release policies, in Azure Key Vault's requests and answers.

One method a route. Who may call it was decided before; what a release needs is decided here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sealserve.attestation.token import verify_token
from sealserve.keys.body import Body
from sealserve.keys.connection import ROLE_TAG
from sealserve.keys.keyid import NAME, KeyId
from sealserve.keys.refused import Refused, bad_parameter, forbidden
from sealserve.keys.trustd import deletions, material, policies
from sealserve.keys.trustd.answer import WrappingKey
from sealserve.keys.trustd.audit import AuditLog, Entry
from sealserve.keys.trustd.bearers import RELEASE, Bearer, is_release_role
from sealserve.keys.trustd.bundles import bundle, entry, listed
from sealserve.keys.trustd.deletions import Deletion, Deletions
from sealserve.keys.trustd.pages import Page
from sealserve.keys.trustd.records import Record, Records
from sealserve.keys.trustd.refusals import Refusals
from sealserve.keys.trustd.release import Attempt, Released, Wanted, refusal
from sealserve.keys.trustd.tokens import Tokens
from sealserve.native.errors import EvidenceError, IntegrityError, ReleaseError
from sealserve.policy.release import ReleasePolicy

KIND = deletions.KEY
MAX_VERSIONS = 1000  # all are read for a list; rolling daily takes three years to get there
MAX_TAGS = 15  # Azure's limit
_MAX_TAG_CHARACTERS = 256
_VERSION_BYTES = 16
_DATES = ("nbf", "exp")  # seconds since 1970: not before, and no more from
Answer = dict[str, Any]


class KeyVault:
    """The vault of one service.

    address: as `keyid.vault_host` spells it. sign: makes the JWS around a release answer.
    """

    def __init__(
        self,
        records: Records,
        address: str,
        tokens: Tokens,
        sign: Callable[[Mapping[str, object]], str],
        audit: AuditLog,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._address = address
        self._tokens = tokens
        self._sign = sign
        self._audit = audit
        self._url = f"https://{address}"
        self._deletions = Deletions(records, audit)
        self._refusals = Refusals(audit)
        self._clock = clock

    def create(self, name: str, body: Body, by: str) -> Answer:
        """A new key, or a new version of one. Raises Refused, as everything here does.

        by: the name of whose credential it is, for the audit log.
        """
        kind = body.text("kty")
        record = self._new(name, kind, material.create(kind, body), body, body)
        return self._add(record, Entry.KEY_CREATED, by)

    def bring(self, name: str, body: Body, by: str) -> Answer:
        """A key that its owner made elsewhere (`import` in Azure's words)."""
        jwk = body.object("key")
        kind = _type_of_import(jwk.text("kty"), body)
        record = self._new(name, kind, material.read(kind, jwk), jwk, body)
        return self._add(record, Entry.KEY_IMPORTED, by)

    def update(self, name: str, version: str, body: Body, by: str) -> Answer:
        """Enable, disable or date one version, or give it another policy; the newest if "".

        Disabling ends its releases; who has the key has it still.
        """
        with self._audit.transaction():
            found = self._find(name, version)
            edited = self._records.change(
                KIND, name, found.version, lambda about: self._edited(about, body)
            )
            assert edited is not None  # found in this transaction
            self._audit.append(Entry.KEY_CHANGED, **_told(edited, by))
        return bundle(self._address, edited)

    def get(self, name: str, version: str) -> Answer:
        """One version's public part; the newest if version is ""."""
        return bundle(self._address, self._find(name, version))

    def names(self, page: Page) -> Answer:
        """The newest version of every key."""
        found = self._records.newest(
            KIND, after=page.after, most=page.size + 1, without=deletions.KIND
        )
        entries = [entry(self._address, record) for record in found]
        return listed(f"{self._url}/keys", page, entries, [record.name for record in found])

    def versions(self, name: str, page: Page) -> Answer:
        """Every version of one key; none for a key that is not there, as Azure has it."""
        found = [] if self._deletions.find(name) else self._records.versions(KIND, name)
        called = [record.version for record in found]
        start = called.index(page.after) + 1 if page.after in called else 0
        rest = slice(start, start + page.size + 1)
        entries = [entry(self._address, each, each.version) for each in found[rest]]
        return listed(f"{self._url}/keys/{name}/versions", page, entries, called[rest])

    def delete(self, name: str, by: str) -> Answer:
        """Take a key out of use, all of its versions; recoverable for a while."""
        with self._audit.transaction():
            newest = self._find(name, "")
            deletion = self._deletions.add(name, self._clock(), by)
        return {**bundle(self._address, newest), **deletion.told(self._url)}

    def deleted_names(self, page: Page) -> Answer:
        """Every deleted key."""
        found = self._deletions.names(page.after, page.size + 1)
        entries = [
            {**entry(self._address, self._newest(each.name)), **each.told(self._url)}
            for each in found
        ]
        return listed(f"{self._url}/deletedkeys", page, entries, [each.name for each in found])

    def deleted(self, name: str) -> Answer:
        """The newest version of a deleted key."""
        deletion = self._deletion(name)
        return {**bundle(self._address, self._newest(name)), **deletion.told(self._url)}

    def recover(self, name: str, by: str) -> Answer:
        """Put a deleted key back into use."""
        with self._audit.transaction():
            self._deletion(name)
            self._deletions.recover(name, by)
        return bundle(self._address, self._newest(name))

    def purge(self, name: str, by: str) -> None:
        """Forget a deleted key for good."""
        with self._audit.transaction():
            self._deletion(name)
            self._deletions.purge(name, by)

    def purge_expired(self) -> int:
        """Forget deleted keys whose time is over; how many."""
        return self._deletions.purge_expired(self._clock())

    def wrap(self, name: str, version: str, body: Body, by: str) -> Answer:
        """`wrapkey`: somebody's key under one of ours. Nothing is ever unwrapped here: a vault key
        opens slots only where it was released to.
        """
        record = self._find(name, version)
        _require_usable(record, self._clock())
        if record.about["key_ops"] and "wrapKey" not in _operations(record):
            raise forbidden("Operation wrapKey is not permitted on this key.")
        wrapped = material.wrap(record.secret, _type(record), body)
        self._audit.append(Entry.KEY_USED, by=by, key=name, version=record.version, use="wrapKey")
        return {"kid": KeyId(self._address, name, record.version).url, "value": wrapped}

    def release(self, wanted: Wanted) -> Released:
        """The key, wrapped to the machine that the token is about, if its policy allows it."""
        attempt = Attempt(wanted)
        try:
            return self._release(attempt)
        except Refused as refused:
            self._refusals.tell(
                self._clock(),
                attested=bool(attempt.claims),
                **attempt.told(),
                **refusal(refused),
            )
            raise

    def settle(self) -> None:
        """What was counted of refusals gets its row."""
        self._refusals.settle(self._clock())

    def _release(self, attempt: Attempt) -> Released:
        wanted, now = attempt.wanted, self._clock()
        record = self._find(wanted.name, wanted.version)
        attempt.version = record.version
        attempt.policy = policies.stored_policy(record.about)
        _require_releasable(record, now)
        _require_role(record, wanted.bearer)
        attempt.claims = self._claims(wanted.target, now)
        try:
            ReleasePolicy.parse(attempt.policy).evaluate(attempt.claims)
        except ReleaseError as error:
            raise forbidden(error.message) from error
        wrapping = WrappingKey.of(attempt.claims, wanted.enc)
        value = self._answer(record, wanted, wrapping)
        with self._audit.transaction():
            # what was decided on must still be so: a key that was disabled meanwhile stays here
            if self._current(wanted.name, record.version) != record:
                raise Refused(409, "Conflict", "The key was changed meanwhile.")
            self._audit.append(
                Entry.RELEASED,
                **attempt.told(),
                enc=wrapping.enc,
                wrapping_key=wrapping.thumbprint,
            )
        return Released(value, attempt)

    def _answer(self, record: Record, wanted: Wanted, wrapping: WrappingKey) -> str:
        shown = bundle(self._address, record)
        shown["key"]["key_hsm"] = wrapping.wrap(record.secret, shown["key"]["kid"])
        shown["release_policy"].pop("contentType")
        request = {
            "api-version": wanted.api_version,
            "enc": wrapping.enc,
            "kid": KeyId(self._address, wanted.name, wanted.version).url,
        }
        return self._sign({"request": request, "response": {"key": shown}})

    def _claims(self, token: str, now: datetime) -> Any:
        try:
            return verify_token(token, self._tokens.keys, issuer=self._tokens.issuer, now=now)
        except EvidenceError as error:
            raise forbidden(f"{error.code}: {error.message}") from error

    def _find(self, name: str, version: str) -> Record:
        record = self._current(name, version) if NAME.fullmatch(name) else None
        if record is None:
            what = f"{name[:127]}/{version[:32]}" if version else name[:127]
            raise Refused(
                404,
                "KeyNotFound",
                f"A key with (name/id) {what} was not found in this key vault.",
            )
        return record

    def _current(self, name: str, version: str) -> Record | None:
        if self._deletions.find(name):
            return None
        return self._records.find(KIND, name, version)

    def _newest(self, name: str) -> Record:
        record = self._records.find(KIND, name)
        if record is None:
            raise IntegrityError(f"the key {name} is deleted, and has no version")
        return record

    def _deletion(self, name: str) -> Deletion:
        deletion = self._deletions.find(name)
        if deletion is None:
            raise Refused(404, "KeyNotFound", f"Deleted Key not found: {name[:127]}")
        return deletion

    def _add(self, record: Record, entry: Entry, by: str) -> Answer:
        with self._audit.transaction():
            self._deletions.require_free(record.name)
            if len(self._records.versions(KIND, record.name)) >= MAX_VERSIONS:
                raise bad_parameter(f"the key {record.name} has {MAX_VERSIONS} versions already")
            self._records.add(record)
            self._audit.append(entry, **_told(record, by))
        return bundle(self._address, record)

    def _new(self, name: str, kind: str, secret: bytes, key: Body, body: Body) -> Record:
        if not NAME.fullmatch(name):
            raise bad_parameter(f"the key name {name[:127]!r}: wanted letters, digits and dashes")
        about = {
            "attributes": _attributes(body.object("attributes"), self._clock()),
            "key_ops": material.operations(key),
            "public": material.public(kind, secret),
            "release_policy": policies.asked_for(body, self._tokens.issuer),
            "roles": _roles(body.object("tags")),
            "tags": _tags(body.object("tags")),
            "type": kind,
        }
        return Record(KIND, name, secrets.token_hex(_VERSION_BYTES), about, secret)

    def _edited(self, about: Mapping[str, Any], body: Body) -> Mapping[str, object]:
        edited = dict(about)
        given = body.object("attributes")
        edited["attributes"] = _edited_attributes(about["attributes"], given, self._clock())
        if body.has("key_ops"):
            edited["key_ops"] = material.operations(body)
        if body.has("tags"):
            tags = body.object("tags")
            edited["roles"] = {**about["roles"], **_roles(tags)}
            edited["tags"] = {**_tags(tags), **_role_tags(edited["roles"])}
        if body.has("release_policy"):
            edited["release_policy"] = policies.changed(
                about["release_policy"], body.object("release_policy"), self._tokens.issuer
            )
        return edited


def _type_of_import(kind: str, body: Body) -> str:
    """Azure's SDK says `Hsm`, its Go importer `hsm`: the suffix as a flag."""
    wants_hsm = body.flag("Hsm", False) or body.flag("hsm", False)
    return f"{kind}-HSM" if wants_hsm and not kind.endswith("-HSM") else kind


def _attributes(given: Body, now: datetime) -> dict[str, object]:
    instant = int(now.timestamp())
    attributes: dict[str, object] = {
        "created": instant,
        "enabled": given.flag("enabled", True),
        "exportable": given.flag("exportable", False),
        "updated": instant,
    }
    for name in _DATES:
        if given.has(name):
            attributes[name] = given.integer(name)
    return attributes


def _edited_attributes(
    before: Mapping[str, object], given: Body, now: datetime
) -> dict[str, object]:
    exportable = before["exportable"]
    if given.has("exportable") and given.flag("exportable", False) != exportable:
        raise bad_parameter("AKV.SKR.1014: The exportable state of a key cannot be modified.")
    edited = {**before, "updated": int(now.timestamp())}
    if given.has("enabled"):
        edited["enabled"] = given.flag("enabled", True)
    for name in _DATES:
        if given.has(name):
            edited[name] = given.integer(name)
    return edited


def _tags(given: Body) -> dict[str, str]:
    tags = given.items()
    if len(tags) > MAX_TAGS or any(
        len(text) > _MAX_TAG_CHARACTERS for pair in tags.items() for text in pair
    ):
        raise bad_parameter(f"tags: at most {MAX_TAGS}, each of {_MAX_TAG_CHARACTERS} characters")
    return tags


def _roles(tags: Body) -> dict[str, str]:
    """Who may release: the unmodified SDK has no other place to say it than a tag."""
    if not tags.has(ROLE_TAG):
        return {}
    role = tags.text(ROLE_TAG)
    if not is_release_role(role):
        raise bad_parameter(f"the tag {ROLE_TAG}: seen {role[:80]!r}; wanted a-z, 0-9 and dashes")
    return {"release": role}


def _role_tags(roles: Mapping[str, str]) -> dict[str, str]:
    """Tags that are replaced take no role away: that would let more people have the key."""
    return {ROLE_TAG: roles["release"]} if roles else {}


def _require_role(record: Record, bearer: Bearer) -> None:
    roles: Any = record.about["roles"]
    if roles and not bearer.may(f"{RELEASE}{roles['release']}"):
        who = f"the credential {bearer.name!r} has" if bearer.name else "no credential came with"
        raise forbidden(
            f"the key has the release role {roles['release']!r}, which {who} not; "
            f"wanted a token with the role {RELEASE}{roles['release']}"
        )


def _type(record: Record) -> str:
    return str(record.about["type"])


def _operations(record: Record) -> list[str]:
    operations: Any = record.about["key_ops"]
    return list(operations)


def _require_releasable(record: Record, now: datetime) -> None:
    attributes: Any = record.about["attributes"]
    _require_usable(record, now)
    if not attributes["exportable"]:
        raise forbidden("the key is not exportable, so it is never released")


def _require_usable(record: Record, now: datetime) -> None:
    attributes: Any = record.about["attributes"]
    instant = now.timestamp()
    if not attributes["enabled"]:
        raise forbidden("the key is disabled")
    if not attributes.get("nbf", 0) <= instant < attributes.get("exp", instant + 1):
        raise forbidden("the key is not valid now (attributes nbf and exp)")


def _told(record: Record, by: str) -> dict[str, object]:
    """What the audit log says of a key: everything about it that is not secret."""
    return {"about": record.about, "by": by, "key": record.name, "version": record.version}
