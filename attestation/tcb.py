"""Product lines, and how each of them lays out the eight bytes of a TCB_VERSION.

The layout follows the product, never the report's version: Turin put FMC in front. Components are
compared one by one; as one integer a higher microcode would hide a lower firmware.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from sealserve.native.errors import EvidenceError

Line = Literal["milan", "genoa", "turin"]
LINES: Final[tuple[Line, ...]] = ("milan", "genoa", "turin")

TCB_BYTES: Final = 8

# AMD 56860 rev 1.58, TCB_VERSION; and 57230 (VCEK specification) for Turin. Byte of each component.
_ZEN3_4: Final = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
_ZEN5: Final = {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}
_LAYOUT: Final[Mapping[Line, Mapping[str, int]]] = {
    "milan": _ZEN3_4,
    "genoa": _ZEN3_4,
    "turin": _ZEN5,
}

# The names of a line's components.
COMPONENTS: Final[Mapping[Line, frozenset[str]]] = {
    line: frozenset(layout) for line, layout in _LAYOUT.items()
}

# Bytes of CHIP_ID (and of hwID in a VCEK) that carry the identity.
CHIP_ID_BYTES: Final[Mapping[Line, int]] = {"milan": 64, "genoa": 64, "turin": 8}

# structVersion in VCEK and VLEK, measured on all certificates we hold.
STRUCT_VERSION: Final[Mapping[Line, int]] = {"milan": 0, "genoa": 0, "turin": 1}

# CPUID family, first and last model: AMD 56860 rev 1.58, CPUID_FAM_ID; models as in virtee/sev.
# Bergamo and Siena (0xA0 to 0xAF) are Genoa by certificate. Venice has no public root: unknown.
_MODELS: Final[tuple[tuple[int, range, Line], ...]] = (
    (0x19, range(0x00, 0x10), "milan"),
    (0x19, range(0x10, 0x20), "genoa"),
    (0x19, range(0xA0, 0xB0), "genoa"),
    (0x1A, range(0x00, 0x12), "turin"),
)


@dataclass(frozen=True, slots=True)
class Tcb:
    """Security versions of one platform. fmc is None where the line has none."""

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int | None = None

    def components(self) -> dict[str, int]:
        """The components this line has, by the names a trust file uses."""
        named = {
            "fmc": self.fmc,
            "bootloader": self.bootloader,
            "tee": self.tee,
            "snp": self.snp,
            "microcode": self.microcode,
        }
        return {name: value for name, value in named.items() if value is not None}

    def __str__(self) -> str:
        return " ".join(f"{name} {value}" for name, value in self.components().items())


@lru_cache(maxsize=64)  # a report has four, mostly the same one
def decode(raw: bytes, line: Line) -> Tcb:
    """Read a TCB_VERSION of this line. EvidenceError tcb_reserved if a reserved byte is set."""
    layout = _LAYOUT[line]
    reserved = set(range(TCB_BYTES)) - set(layout.values())
    if any(raw[position] for position in reserved):
        raise EvidenceError(
            "tcb_reserved",
            f"reserved bytes of a {line} TCB version are not zero",
            seen=raw.hex(),
            wanted=f"zero at {sorted(reserved)}",
        )
    return Tcb(**{name: raw[position] for name, position in layout.items()})


@lru_cache(maxsize=64)
def components(raw: bytes, line: Line) -> Mapping[str, int]:
    """The same by name. EvidenceError as `decode`."""
    return MappingProxyType(decode(raw, line).components())


def encode(tcb: Tcb, line: Line) -> bytes:
    """The eight bytes of this TCB on this line."""
    raw = bytearray(TCB_BYTES)
    components = tcb.components()
    for name, position in _LAYOUT[line].items():
        raw[position] = components[name]
    return bytes(raw)


@lru_cache(maxsize=64)
def line_of(family: int, model: int) -> Line | None:
    """The product line of a CPUID family and model, None for one we have no root for."""
    return next(
        (line for known, models, line in _MODELS if known == family and model in models), None
    )
