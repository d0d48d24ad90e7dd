"""What a trust file can expect, as types: no I/O, nothing that decides.

What a file has to say has no default here; a default stands for what it may leave out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sealserve.attestation.report import ACCEPTED_VERSIONS, Firmware
from sealserve.attestation.tcb import Line, Tcb

Kind = Literal["aci", "snp", "simulated"]

# Bits of POLICY and PLATFORM_INFO that a file may ask for, by their names in `attestation.report`.
# Not here: what is fixed (debug, migration, CXL, the alias check), and bits nobody could name.
GUEST_POLICY_BITS = (
    "smt",
    "single_socket",
    "aes_256_xts",
    "rapl_disabled",
    "ciphertext_hiding",
    "page_swap_disabled",
)
PLATFORM_INFO_BITS = ("smt", "tsme", "ecc", "rapl_disabled", "ciphertext_hiding", "tio")

NO_POLICY = bytes(32)  # HOST_DATA of a machine that was started without an execution policy


@dataclass(frozen=True)
class Bits:
    """Names of bits that have to be set, and of those that have to be clear."""

    set: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hardware:
    """Which machines, and how old their firmware may be.

    floors: least TCB by line (`genoa`) or by line and CPU model (`genoa-a0`). chips, denied_chips:
    64 bytes each, zero-padded on Turin; no chips means any. vlek_providers: empty means that only
    chip keys (VCEK) count. floor_at_launch: the floors hold for LAUNCH_TCB too. minimum_firmware:
    None asks for none. mitigations: the bits that both mitigation vectors need, 0 for none.
    """

    lines: tuple[Line, ...]
    floors: Mapping[str, Tcb]
    max_crl_age_days: int
    chips: tuple[bytes, ...] = ()
    denied_chips: tuple[bytes, ...] = ()
    vlek_providers: tuple[str, ...] = ()
    floor_at_launch: bool = False
    minimum_firmware: Firmware | None = None
    minimum_report_version: int = ACCEPTED_VERSIONS[0]
    mitigations: int = 0
    platform_info: Bits = field(default_factory=Bits)

    def floor(self, line: Line, cpuid: tuple[int, int, int] | None) -> tuple[str, Tcb]:
        """The table that applies to this CPU, and its name.

        A report without CPUID does not tell its model: it has to meet every table of its line.
        """
        if cpuid is None:
            return line, _highest([tcb for name, tcb in self.floors.items() if _is_of(name, line)])
        override = f"{line}-{cpuid[1]:02x}"
        name = override if override in self.floors else line
        return name, self.floors[name]


def _is_of(table: str, line: Line) -> bool:
    return table.partition("-")[0] == line


def _highest(floors: Sequence[Tcb]) -> Tcb:
    levels = [floor.components() for floor in floors]
    return Tcb(**{name: max(level[name] for level in levels) for name in levels[0]})


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
class Guest:
    """What a launch has to look like beside its measurement.

    id_keys, author_keys: SHA-384 of keys that may have signed the ID block (48 bytes each); empty
    asks for none.
    """

    policy: Bits = field(default_factory=Bits)
    id_keys: tuple[bytes, ...] = ()
    author_keys: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Danger:
    """What is let through although it should not be; every one is printed in every verdict."""

    allow_debug: bool = False
    allow_migration: bool = False
    allow_cxl: bool = False
    allow_vmpl: tuple[int, ...] = ()
    without_nonce: bool = False

    def told(self) -> dict[str, str]:
        """One sentence per danger that was chosen, by its key."""
        sentences = {
            "allow_debug": "debug machines are accepted: the host can read their memory",
            "allow_migration": "machines with a migration agent are accepted",
            "allow_cxl": "CXL memory is accepted: it lies outside of the processor's package",
            "allow_vmpl": f"VMPL {_listed(self.allow_vmpl)} is accepted beside 0",
            "without_nonce": "no nonce is required: evidence may be old and replayed",
        }
        return {key: sentence for key, sentence in sentences.items() if getattr(self, key)}

    def sentences(self) -> tuple[str, ...]:
        """The same, without the keys."""
        return tuple(self.told().values())


def days(count: int) -> str:
    """So many days, in words."""
    return "1 day" if count == 1 else f"{count} days"


def _listed(values: tuple[int, ...]) -> str:
    return " and ".join(str(value) for value in values)
