"""Bytes in, bytes out: secret memory, Cobblestone-256 messages, the hash tree, loading, errors.

Names load on first use: whoever needs the errors alone does not load an extension module.
The loader is a module of its own: `from sealserve.native.load import load`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sealserve.native.cobblestone import Message, plain_size, sealed_size
    from sealserve.native.destination import Cancelled, Destination
    from sealserve.native.ranges import Ranges
    from sealserve.native.secret import SecretBuffer
    from sealserve.native.verity import Tree, TreeBuilder, TrustedTree, root_of, tree_size

_HOMES = {
    "Cancelled": "destination",
    "Destination": "destination",
    "Message": "cobblestone",
    "Ranges": "ranges",
    "SecretBuffer": "secret",
    "Tree": "verity",
    "TreeBuilder": "verity",
    "TrustedTree": "verity",
    "plain_size": "cobblestone",
    "root_of": "verity",
    "sealed_size": "cobblestone",
    "tree_size": "verity",
}

__all__ = [
    "Cancelled",
    "Destination",
    "Message",
    "Ranges",
    "SecretBuffer",
    "Tree",
    "TreeBuilder",
    "TrustedTree",
    "plain_size",
    "root_of",
    "sealed_size",
    "tree_size",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sealserve.native' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sealserve.native.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
