"""Keys as answers show them: Azure's key bundles and list entries, without anything secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sealserve.keys.keyid import KeyId
from sealserve.keys.trustd.deletions import RECOVERABLE_DAYS
from sealserve.keys.trustd.pages import Page
from sealserve.keys.trustd.records import Record

_RECOVERY: Final = {
    "recoverableDays": RECOVERABLE_DAYS,
    "recoveryLevel": "Recoverable+Purgeable",
}
Answer = dict[str, Any]


def bundle(address: str, record: Record) -> Answer:
    """One version's public part. address: the vault's, as `keyid.vault_host` spells it."""
    about: Any = record.about
    shown: Answer = {
        "attributes": {**about["attributes"], **_RECOVERY},
        "key": {
            "kid": KeyId(address, record.name, record.version).url,
            "kty": about["type"],
            "key_ops": about["key_ops"],
            **about["public"],
        },
    }
    if about["release_policy"]:
        shown["release_policy"] = dict(about["release_policy"])
    if about["tags"]:
        shown["tags"] = about["tags"]
    return shown


def entry(address: str, record: Record, version: str = "") -> Answer:
    """One entry of a list; of a key without its version, or of this one."""
    about: Any = record.about
    return {
        "attributes": {**about["attributes"], **_RECOVERY},
        "kid": KeyId(address, record.name, version).url,
        "tags": about["tags"],
    }


def listed(place: str, page: Page, entries: Sequence[Answer], names: Sequence[str]) -> Answer:
    """A page of these entries, called `names` in links; one more than it holds if there is more."""
    return {"nextLink": page.link(place, names), "value": list(entries[: page.size])}
