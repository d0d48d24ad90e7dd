"""The machines that can be simulated: one per CPU model real ones were seen with.

Numbers are those of confidential containers on Azure in 2025 and 2026 (Milan, Genoa, Turin) and of
a Genoa machine with cores of Zen 4c (model 0xA0), read from the reports in tests/vectors/evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sealserve.attestation.tcb import Line, Tcb


@dataclass(frozen=True)
class Model:
    """One kind of machine.

    cpuid: family, model, stepping. tcb: what a machine in order runs; old_tcb: one that a trust
    file with today's floors refuses. platform_info: before version 3 of the report only SMT_EN is
    known. firmware: build, minor, major. mitigations: both vectors of a version 5 report. version:
    the report version its firmware gives. vcek_product, vlek_product: productName in these leaves.
    """

    name: str
    line: Line
    cpuid: tuple[int, int, int]
    tcb: Tcb
    old_tcb: Tcb
    platform_info: int
    firmware: tuple[int, int, int]
    mitigations: int
    version: int
    vcek_product: str
    vlek_product: str


_MILAN: Final = Model(
    name="milan",
    line="milan",
    cpuid=(0x19, 0x01, 0x01),
    tcb=Tcb(bootloader=4, tee=0, snp=24, microcode=219),
    old_tcb=Tcb(bootloader=3, tee=0, snp=8, microcode=115),  # before AMD-SB-3019
    platform_info=0x25,
    firmware=(29, 55, 1),
    mitigations=0,
    version=3,
    vcek_product="Milan-B0",
    vlek_product="Milan",
)
_GENOA: Final = Model(
    name="genoa",
    line="genoa",
    cpuid=(0x19, 0x11, 0x01),
    tcb=Tcb(bootloader=10, tee=0, snp=23, microcode=84),
    old_tcb=Tcb(bootloader=7, tee=0, snp=14, microcode=62),
    platform_info=0x27,
    firmware=(40, 55, 1),
    mitigations=0,
    version=3,
    vcek_product="Genoa",
    vlek_product="Genoa",
)
_GENOA_A0: Final = Model(
    name="genoa-a0",
    line="genoa",
    cpuid=(0x19, 0xA0, 0x02),
    tcb=Tcb(bootloader=10, tee=0, snp=27, microcode=27),
    old_tcb=Tcb(bootloader=7, tee=0, snp=14, microcode=9),
    platform_info=0x25,
    firmware=(49, 55, 1),
    mitigations=11,
    version=5,
    vcek_product="Genoa",
    vlek_product="Genoa",
)
_TURIN: Final = Model(
    name="turin",
    line="turin",
    cpuid=(0x1A, 0x02, 0x01),
    tcb=Tcb(fmc=1, bootloader=1, tee=1, snp=4, microcode=81),
    old_tcb=Tcb(fmc=0, bootloader=0, tee=0, snp=2, microcode=40),
    platform_info=0x65,
    firmware=(65, 55, 1),
    mitigations=63,
    version=5,
    vcek_product="Turin",
    vlek_product="Turin",
)

MODELS: Final[Mapping[str, Model]] = MappingProxyType(
    {model.name: model for model in (_MILAN, _GENOA, _GENOA_A0, _TURIN)}
)
