"""What an endorsement of a utility VM says, once its signature and issuer were checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UvmEndorsement:
    """Issuer `issuer` vouches that `measurement` is version `svn` of the product `feed`.

    issuer: a did:x509, whole. measurement: 48 bytes, equal to the report's.
    """

    issuer: str
    feed: str
    svn: int
    measurement: bytes
