"""What a trust file can expect, as types: no defaults, no I/O, nothing that decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sealserve.attestation.tcb import Line, Tcb

Kind = Literal["aci", "snp", "simulated"]

NO_POLICY = bytes(32)  # HOST_DATA of a machine that was started without an execution policy


@dataclass(frozen=True)
class Hardware:
    """Which machines, and how old their firmware may be.

    floors: least TCB by line (`genoa`) or by line and CPU model (`genoa-a0`).
    chips: 64 bytes each, zero-padded on Turin; empty means any. vlek_providers: empty means that
    only chip keys (VCEK) count.
    """

    lines: tuple[Line, ...]
    floors: Mapping[str, Tcb]
    max_crl_age_days: int
    chips: tuple[bytes, ...]
    vlek_providers: tuple[str, ...]

    def floor(self, line: Line, cpuid: tuple[int, int, int] | None) -> tuple[str, Tcb]:
        """The table that applies to this CPU, and its name; without CPUID the line's own."""
        if cpuid is not None:
            override = f"{line}-{cpuid[1]:02x}"
            if override in self.floors:
                return override, self.floors[override]
        return line, self.floors[line]


@dataclass(frozen=True)
class UvmLaunch:
    """A launch measurement is accepted when this issuer endorsed it for this feed."""

    issuer: str
    feed: str
    minimum_svn: int


@dataclass(frozen=True)
class Noted:
    """A pinned digest and what people wrote beside it. Equal if the digests are."""

    digest: bytes
    note: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Noted) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True)
class MeasuredLaunch:
    """A launch measurement is accepted when it is one of these (48 bytes)."""

    measurements: tuple[Noted, ...]


@dataclass(frozen=True)
class Danger:
    """What is let through although it should not be; every one is printed in every verdict."""

    allow_debug: bool = False
    allow_migration: bool = False
    allow_vmpl: tuple[int, ...] = ()
    without_nonce: bool = False

    def sentences(self) -> tuple[str, ...]:
        """One sentence per danger that was chosen."""
        chosen = (
            (self.allow_debug, "debug machines are accepted: the host can read their memory"),
            (self.allow_migration, "machines with a migration agent are accepted"),
            (bool(self.allow_vmpl), f"VMPL {_listed(self.allow_vmpl)} is accepted beside 0"),
            (self.without_nonce, "no nonce is required: evidence may be old and replayed"),
        )
        return tuple(sentence for applies, sentence in chosen if applies)


def days(count: int) -> str:
    """So many days, in words."""
    return "1 day" if count == 1 else f"{count} days"


def _listed(values: tuple[int, ...]) -> str:
    return " and ".join(str(value) for value in values)
