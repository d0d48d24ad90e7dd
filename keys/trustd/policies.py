"""Release policies as a vault stores them: read by the very parser that will evaluate them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sealserve.attestation.binding import b64url
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.native.errors import ConfigError
from sealserve.policy.release import ReleasePolicy

CONTENT_TYPE = "application/json; charset=utf-8"
Stored = dict[str, Any]


def asked_for(body: Body, issuer: str) -> Stored | None:
    """The policy of a new key, None for one that never leaves.

    issuer: whose tokens this vault accepts. Raises Refused, as everything here does.
    """
    exportable = body.object("attributes").flag("exportable", False)
    if not body.has("release_policy"):
        if exportable:
            raise bad_parameter("AKV.SKR.1004: Exportable keys must have release policy.")
        return None
    if not exportable:
        raise not_exportable()
    return read(body.object("release_policy"), issuer)


def changed(before: Stored | None, given: Body, issuer: str) -> Stored:
    """The policy of a key that has one already."""
    if not before:
        raise not_exportable()
    if before["immutable"]:
        raise bad_parameter("the release policy of this key is immutable")
    return read(given, issuer)


def read(given: Body, issuer: str) -> Stored:
    """A policy as it is stored."""
    data = given.bytes("data")
    try:
        policy = ReleasePolicy.parse(data)
    except ConfigError as error:
        raise bad_parameter(f"release_policy: {error.message}") from error
    named = [entry.authority.removesuffix("/") for entry in policy.authorities]
    if issuer not in named:
        raise bad_parameter(
            f"release_policy: the authorities {', '.join(named)[:500]} issue no tokens that "
            f"this service accepts; wanted {issuer}"
        )
    return {
        "contentType": CONTENT_TYPE,
        "data": b64url(data),
        "immutable": given.flag("immutable", False),
    }


def stored_policy(about: Mapping[str, object]) -> bytes:
    """The text of a key's policy, empty for a key that has none."""
    stored: Any = about["release_policy"]
    return Body(stored, "release_policy").bytes("data") if stored else b""


def not_exportable() -> Refused:
    """A policy for a key that never leaves."""
    return bad_parameter("AKV.SKR.1005: Non-exportable keys must not have release policy.")
