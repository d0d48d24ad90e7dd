"""Puts loose certificates in order: leaf, intermediate, root. It decides nothing else.

Whoever hands over certificates mixes them as they like. What is picked here goes through every
check afterwards; a wrong pick can only be refused. AMD's own intermediates stand in where none
came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sealserve.attestation import roots as shipped
from sealserve.attestation.certs import Certificate
from sealserve.attestation.report import SigningKey
from sealserve.attestation.roots import Roots
from sealserve.attestation.tcb import LINES
from sealserve.native.errors import EvidenceError

MAX_CERTIFICATES: Final = 8  # root, intermediate, leaf, and what a tool put beside them

_LEAVES: Final = ("SEV-VCEK", "SEV-VLEK")
_KINDS: Final[tuple[SigningKey, ...]] = ("vcek", "vlek")


@dataclass(frozen=True, slots=True)
class Path:
    """The picked certificates, DER; None where there is none."""

    leaf: bytes | None
    intermediate: bytes | None
    root: bytes | None


def build(leaf: bytes | None, loose: Sequence[bytes], roots: Roots) -> Path:
    """The leaf (the given one, or the one among the loose), who issued it, and who issued that."""
    read = [(der, _read(der)) for der in loose]
    if leaf is None:
        leaf = next((der for der, c in read if c and c.subject.common_name in _LEAVES), None)
    intermediate = _intermediate(_read(leaf), read, roots)
    return Path(leaf, intermediate, _root(_read(intermediate), read, roots))


_Read = Sequence[tuple[bytes, Certificate | None]]


def _intermediate(leaf: Certificate | None, read: _Read, roots: Roots) -> bytes | None:
    """The leaf's issuer by name, AMD's own before others; else any that might be meant as it."""
    own = _shipped(leaf) if leaf is not None and roots.platform == "snp" else None
    others = [(der, c) for der, c in read if not (c and _is_leaf_or_root(c))]
    if leaf is not None:
        named = [der for der, c in others if c and c.subject.der == leaf.issuer.der]
        if named:
            return own if own in named else named[0]
    return others[0][0] if others else own


def _root(intermediate: Certificate | None, read: _Read, roots: Roots) -> bytes | None:
    """The intermediate's issuer by name, an accepted one before others; else any root."""
    found = [(der, c) for der, c in read if c and _self_issued(c)]
    found.sort(key=lambda pair: not _fits(pair[1], intermediate))
    found.sort(key=lambda pair: hashlib.sha256(pair[0]).digest() not in roots.digests)
    return found[0][0] if found else None


def _fits(root: Certificate, intermediate: Certificate | None) -> bool:
    return intermediate is not None and root.subject.der == intermediate.issuer.der


def _shipped(leaf: Certificate) -> bytes | None:
    for line in LINES:
        for kind in _KINDS:
            der = shipped.intermediate(line, kind)
            known = _read(der)
            if known is not None and known.subject.der == leaf.issuer.der:
                return der
    return None


def _is_leaf_or_root(found: Certificate) -> bool:
    return found.subject.common_name in _LEAVES or _self_issued(found)


def _self_issued(found: Certificate) -> bool:
    return found.issuer.der == found.subject.der


def _read(der: bytes | None) -> Certificate | None:
    """None for what the check of that certificate will refuse."""
    if der is None:
        return None
    try:
        return Certificate.parse(der)
    except EvidenceError:
        return None
