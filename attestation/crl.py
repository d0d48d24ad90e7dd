"""AMD's certificate revocation lists: signed by the ARK, they revoke ASKs and ASVKs.

Serial numbers of VCEK and VLEK are all zero, so a list can never revoke a chip.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sealserve.attestation import der
from sealserve.attestation.certs import (
    Certificate,
    Name,
    read_name,
    require_pss_sha384,
    require_signature,
)
from sealserve.native.errors import EvidenceError

MAX_CRL_BYTES: Final = 16 * 1024  # the largest we hold has 890


@dataclass(frozen=True, slots=True)
class Crl:
    """One list, read but not yet believed: `require_by` and `require_current` come first."""

    issuer: Name
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int]
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> Crl:
        """Read a version 2 list. EvidenceError: crl_size, certificate_unparseable, signature_*."""
        if len(data) > MAX_CRL_BYTES:
            raise EvidenceError(
                "crl_size",
                "the revocation list is too long",
                seen=f"{len(data)} bytes",
                wanted=f"at most {MAX_CRL_BYTES}",
            )
        outer = der.document(data)
        signed = outer.whole(der.SEQUENCE)
        algorithm = outer.whole(der.SEQUENCE)
        signature = outer.bits()
        outer.end()
        tbs = der.document(signed)
        if tbs.integer() != 1:
            raise der.refused("a list that is not of version 2")
        require_pss_sha384(algorithm, again=tbs.whole(der.SEQUENCE))
        issuer = read_name(tbs)
        this_update, next_update = tbs.time(), tbs.time()
        revoked = _revoked(tbs)
        _require_known_extensions(tbs)
        tbs.end()
        return cls(issuer, this_update, next_update, revoked, signed, signature)

    def require_by(self, root: Certificate) -> None:
        """The list must be this root's. Raises EvidenceError: crl_issuer, crl_signature."""
        if self.issuer.der != root.subject.der:
            raise EvidenceError(
                "crl_issuer",
                "issuer of the revocation list",
                seen=self.issuer.common_name,
                wanted=root.subject.common_name,
            )
        require_signature(root.spki, self.signature, self.signed, "crl_signature")

    def require_current(self, now: datetime) -> None:
        """`now` must lie in the list's window. Raises EvidenceError: crl_early, crl_stale."""
        if now < self.this_update:
            raise EvidenceError(
                "crl_early",
                "the revocation list is from the future",
                seen=now.isoformat(),
                wanted=f"not before {self.this_update.isoformat()}",
                hint="compare the clocks",
            )
        if now > self.next_update:
            raise EvidenceError(
                "crl_stale",
                "the revocation list has lapsed",
                seen=now.isoformat(),
                wanted=f"not after {self.next_update.isoformat()}",
                hint="the server should staple the list AMD publishes now",
            )

    def require_not_revoked(self, certificate: Certificate) -> None:
        """The list must not name this certificate. Raises EvidenceError: intermediate_revoked."""
        if certificate.serial in self.revoked:
            raise EvidenceError(
                "intermediate_revoked",
                f"{certificate.subject.common_name} was revoked",
                seen=f"serial 0x{certificate.serial:x} on the list",
                wanted="a serial that is not",
            )


# cRLNumber and authorityKeyIdentifier say nothing that changes what the list means. Any other
# extension might (a delta, a restriction to some reasons), so a list with one is not read.
_HARMLESS: Final = frozenset({"2.5.29.20", "2.5.29.35"})


def _revoked(tbs: der.Reader) -> frozenset[int]:
    if tbs.peek() != der.SEQUENCE:
        return frozenset()
    return frozenset(_entry(content) for content in tbs.sequence().rest(der.SEQUENCE))


def _entry(content: bytes) -> int:
    """The serial of one entry; its date and its reason do not matter, revoked is revoked."""
    entry = der.Reader(content)
    serial = entry.integer()
    entry.time()
    if entry.peek() is not None:
        entry.sequence()
    entry.end()
    return serial


def _require_known_extensions(tbs: der.Reader) -> None:
    if tbs.peek() is None:
        return
    wrapper = der.Reader(tbs.element(0xA0))
    for content in wrapper.sequence().rest(der.SEQUENCE):
        oid = der.Reader(content).oid()
        if oid not in _HARMLESS:
            raise der.refused(f"a list with the extension {oid}")
    wrapper.end()
