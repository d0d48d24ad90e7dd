"""Who may open a model: key references, identities, and the release of vault keys.

Names load on first use: an HPKE key file needs neither the cloud's packages nor a network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sealserve.keys.recipients import identity, recipient
    from sealserve.keys.wrap import HpkeIdentity, HpkeRecipient, RsaRecipient, new_identity

_HOMES = {
    "HpkeIdentity": "sealserve.keys.wrap",
    "HpkeRecipient": "sealserve.keys.wrap",
    "RsaRecipient": "sealserve.keys.wrap",
    "identity": "sealserve.keys.recipients",
    "new_identity": "sealserve.keys.wrap",
    "recipient": "sealserve.keys.recipients",
}

__all__ = [
    "HpkeIdentity",
    "HpkeRecipient",
    "RsaRecipient",
    "identity",
    "new_identity",
    "recipient",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sealserve.keys' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
