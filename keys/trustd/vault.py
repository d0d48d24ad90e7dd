"""The key vault: keys with release policies, in Azure Key Vault's requests and answers.

One method a route. Who may call it was decided before; what a release needs is decided here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sealserve.attestation.binding import b64url
from sealserve.attestation.token import verify_token
from sealserve.keys.body import Body
from sealserve.keys.keyid import NAME, KeyId
from sealserve.keys.refused import Refused, bad_parameter, forbidden
from sealserve.keys.trustd import material
from sealserve.keys.trustd.answer import WrappingKey
from sealserve.keys.trustd.records import Record, Records
from sealserve.keys.trustd.tokens import Tokens
from sealserve.native.errors import ConfigError, EvidenceError, ReleaseError
from sealserve.policy.release import ReleasePolicy

KIND = "key"
CONTENT_TYPE = "application/json; charset=utf-8"
MAX_VERSIONS = 1000  # a list is one answer; rolling a key daily takes three years to get there
MAX_TAGS = 15  # Azure's limit
_MAX_TAG_CHARACTERS = 256
_VERSION_BYTES = 16
_DATES = ("nbf", "exp")  # seconds since 1970: not before, and no more from
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Released:
    """The answer to a release, and who got what, for the log."""

    value: str
    name: str
    version: str
    host_data: str


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
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._address = address
        self._tokens = tokens
        self._sign = sign
        self._clock = clock

    def create(self, name: str, body: Body) -> Answer:
        """A new key, or a new version of one. Raises Refused, as everything here does."""
        kind = body.text("kty")
        return self._add(name, kind, material.create(kind, body), body, body)

    def bring(self, name: str, body: Body) -> Answer:
        """A key that its owner made elsewhere (`import` in Azure's words)."""
        jwk = body.object("key")
        kind = _type_of_import(jwk.text("kty"), body)
        return self._add(name, kind, material.read(kind, jwk), jwk, body)

    def update(self, name: str, version: str, body: Body) -> Answer:
        """Enable, disable or date one version, or give it another policy; the newest if "".

        Disabling ends its releases; who has the key has it still.
        """
        found = self._find(name, version)
        edited = self._records.change(
            KIND, name, found.version, lambda about: self._edited(about, body)
        )
        assert edited is not None  # records are never removed
        return self._bundle(edited)

    def get(self, name: str, version: str) -> Answer:
        """One version's public part; the newest if version is ""."""
        return self._bundle(self._find(name, version))

    def names(self) -> Answer:
        """The newest version of every key."""
        return self._list(self._records.newest(KIND), versioned=False)

    def versions(self, name: str) -> Answer:
        """Every version of one key; none for a key that is not there, as Azure has it."""
        return self._list(self._records.versions(KIND, name), versioned=True)

    def release(self, name: str, version: str, body: Body, api_version: str) -> Released:
        """The key, wrapped to the machine that the token is about, if its policy allows it."""
        record = self._find(name, version)
        now = self._clock()
        _require_releasable(record, now)
        claims = self._claims(body.text("target"), now)
        try:
            _policy(record).evaluate(claims)
        except ReleaseError as error:
            raise forbidden(error.message) from error
        wrapping = WrappingKey.of(claims, body.text("enc") if body.has("enc") else "")
        bundle = self._bundle(record)
        bundle["key"]["key_hsm"] = wrapping.wrap(record.secret, bundle["key"]["kid"])
        bundle["release_policy"].pop("contentType")
        asked = KeyId(self._address, name, version).url
        request = {"api-version": api_version, "enc": wrapping.enc, "kid": asked}
        payload = {"request": request, "response": {"key": bundle}}
        host_data = str(claims.get("x-ms-sevsnpvm-hostdata"))
        return Released(self._sign(payload), name, record.version, host_data)

    def _claims(self, token: str, now: datetime) -> Any:
        try:
            return verify_token(token, self._tokens.keys, issuer=self._tokens.issuer, now=now)
        except EvidenceError as error:
            raise forbidden(f"{error.code}: {error.message}") from error

    def _find(self, name: str, version: str) -> Record:
        record = self._records.find(KIND, name, version) if NAME.fullmatch(name) else None
        if record is None:
            what = f"{name[:127]}/{version[:32]}" if version else name[:127]
            raise Refused(
                404,
                "KeyNotFound",
                f"A key with (name/id) {what} was not found in this key vault.",
            )
        return record

    def _add(self, name: str, kind: str, secret: bytes, key: Body, body: Body) -> Answer:
        if not NAME.fullmatch(name):
            raise bad_parameter(f"the key name {name[:127]!r}: wanted letters, digits and dashes")
        if len(self._records.versions(KIND, name)) >= MAX_VERSIONS:
            raise bad_parameter(f"the key {name} has {MAX_VERSIONS} versions already")
        about = {
            "attributes": _attributes(body.object("attributes"), self._clock()),
            "key_ops": material.operations(key),
            "public": material.public(kind, secret),
            "release_policy": self._release_policy(body),
            "tags": _tags(body.object("tags")),
            "type": kind,
        }
        record = Record(KIND, name, secrets.token_hex(_VERSION_BYTES), about, secret)
        self._records.add(record)
        return self._bundle(record)

    def _edited(self, about: Mapping[str, Any], body: Body) -> Mapping[str, object]:
        edited = dict(about)
        given = body.object("attributes")
        edited["attributes"] = _edited_attributes(about["attributes"], given, self._clock())
        if body.has("key_ops"):
            edited["key_ops"] = material.operations(body)
        if body.has("tags"):
            edited["tags"] = _tags(body.object("tags"))
        if body.has("release_policy"):
            if not about["release_policy"]:
                raise _not_exportable()
            if about["release_policy"]["immutable"]:
                raise bad_parameter("the release policy of this key is immutable")
            edited["release_policy"] = self._read_policy(body.object("release_policy"))
        return edited

    def _release_policy(self, body: Body) -> Answer | None:
        """The policy as it is stored: read by the very parser that will evaluate it."""
        exportable = body.object("attributes").flag("exportable", False)
        if not body.has("release_policy"):
            if exportable:
                raise bad_parameter("AKV.SKR.1004: Exportable keys must have release policy.")
            return None
        if not exportable:
            raise _not_exportable()
        return self._read_policy(body.object("release_policy"))

    def _read_policy(self, given: Body) -> Answer:
        data = given.bytes("data")
        try:
            policy = ReleasePolicy.parse(data)
        except ConfigError as error:
            raise bad_parameter(f"release_policy: {error.message}") from error
        self._require_an_authority_of_ours(policy)
        return {
            "contentType": CONTENT_TYPE,
            "data": b64url(data),
            "immutable": given.flag("immutable", False),
        }

    def _require_an_authority_of_ours(self, policy: ReleasePolicy) -> None:
        wanted = self._tokens.issuer
        named = [entry.authority.removesuffix("/") for entry in policy.authorities]
        if wanted not in named:
            raise bad_parameter(
                f"release_policy: the authorities {', '.join(named)[:500]} issue no tokens that "
                f"this service accepts; wanted {wanted}"
            )

    def _bundle(self, record: Record) -> Answer:
        about: Any = record.about
        bundle: Answer = {
            "attributes": dict(about["attributes"]),
            "key": {
                "kid": KeyId(self._address, record.name, record.version).url,
                "kty": about["type"],
                "key_ops": about["key_ops"],
                **about["public"],
            },
        }
        if about["release_policy"]:
            bundle["release_policy"] = dict(about["release_policy"])
        if about["tags"]:
            bundle["tags"] = about["tags"]
        return bundle

    def _list(self, records: list[Record], *, versioned: bool) -> Answer:
        return {
            "nextLink": None,
            "value": [
                {
                    "attributes": record.about["attributes"],
                    "kid": KeyId(
                        self._address, record.name, record.version if versioned else ""
                    ).url,
                    "tags": record.about["tags"],
                }
                for record in records
            ],
        }


def _not_exportable() -> Refused:
    return bad_parameter("AKV.SKR.1005: Non-exportable keys must not have release policy.")


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


def _require_releasable(record: Record, now: datetime) -> None:
    attributes: Any = record.about["attributes"]
    instant = now.timestamp()
    if not attributes["enabled"]:
        raise forbidden("the key is disabled")
    if not attributes["exportable"]:
        raise forbidden("the key is not exportable, so it is never released")
    if not attributes.get("nbf", 0) <= instant < attributes.get("exp", instant + 1):
        raise forbidden("the key is not valid now (attributes nbf and exp)")


def _policy(record: Record) -> ReleasePolicy:
    stored: Any = record.about["release_policy"]
    return ReleasePolicy.parse(Body(stored, "release_policy").bytes("data"))
