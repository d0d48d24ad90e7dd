"""A simulated cloud provider: an ASVK under a simulated ARK, which issues VLEKs.

A VLEK proves a machine that its provider enrolled, not a chip; reports signed with one hide the
chip. Its certificate names the provider in cspID, and a client has to expect that name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.certs import Certificate, require_signature
from sealserve.attestation.simulated import kept
from sealserve.attestation.simulated.root import (
    SimulatedRoot,
    issue_intermediate,
    new_key,
    validity,
)
from sealserve.attestation.tcb import Line
from sealserve.native.errors import EvidenceError

CSP_ID: Final = "CN=simulated-provider.invalid"  # as long as the names of real ones
_HEADER: Final = b"# Provider of a simulated platform. It proves nothing about hardware.\n"


@dataclass(frozen=True, repr=False)
class SimulatedProvider:
    """Key and certificate (DER) of one simulated ASVK."""

    asvk_key: rsa.RSAPrivateKey
    asvk: bytes

    @classmethod
    def create(cls, root: SimulatedRoot, now: datetime) -> SimulatedProvider:
        """A new provider under this root. Takes seconds: one RSA-4096 key."""
        return cls.of(new_key(), root, now)

    @classmethod
    def of(cls, key: rsa.RSAPrivateKey, root: SimulatedRoot, now: datetime) -> SimulatedProvider:
        """The provider that this key, RSA with 4096 bits, makes."""
        window = validity(now)
        public = key.public_key()
        return cls(key, issue_intermediate(root.ark_key, public, root.line, "vlek", window))

    @classmethod
    def load_or_create(
        cls, directory: str | os.PathLike[str], root: SimulatedRoot
    ) -> SimulatedProvider:
        """The provider under this root kept in this directory; made there on first use.

        A file that was made under another root is of no use and is refused: ConfigError, and
        UnavailableError as `kept.load_or_create`.
        """
        form = _form(root.line)
        found = kept.load_or_create(
            directory, form, lambda: _kept(cls.create(root, datetime.now(UTC)))
        )
        provider = cls(found.keys[0], found.certificates[0])
        if not _is_under(root, provider):
            raise kept.refused(directory, form)
        return provider


def _form(line: Line) -> kept.Form:
    return kept.Form(f"simulated-provider-{line}.pem", _HEADER, "simulated provider", keys=1)


def _kept(provider: SimulatedProvider) -> kept.Kept:
    return kept.Kept((provider.asvk_key,), (provider.asvk,))


def _is_under(root: SimulatedRoot, provider: SimulatedProvider) -> bool:
    try:
        ark, asvk = Certificate.parse(root.ark), Certificate.parse(provider.asvk)
        require_signature(ark.spki, asvk.signature, asvk.signed, "intermediate_signature")
    except EvidenceError:
        return False
    return True
