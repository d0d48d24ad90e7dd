"""Every dial of a simulated machine, set to what a good confidential container on Milan shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.simulated.issue import ASK_NAME, SHA384, VCEK_NAME, Scheme
from sealserve.attestation.tcb import Tcb

# The "image" of the simulated platform. It changes when the simulator's behaviour does.
MEASUREMENT: Final = hashlib.sha384(b"sealserve simulated platform, release 1").digest()

MILAN_CPUID: Final = (0x19, 0x01, 0x01)
GOOD_TCB: Final = Tcb(bootloader=4, tee=0, snp=24, microcode=219)  # as Azure ran in 2025 and 2026
OLD_TCB: Final = Tcb(bootloader=3, tee=0, snp=8, microcode=115)  # before AMD-SB-3019

_DAY: Final = timedelta(days=1)
_RESERVED_LEVELS: Final = {"spl4": 0, "spl5": 0, "spl6": 0, "spl7": 0}


def levels_of(tcb: Tcb) -> dict[str, int]:
    """The SPL extensions of a Milan VCEK for this TCB, in AMD's order."""
    return {
        "bootloader": tcb.bootloader,
        "tee": tcb.tee,
        **_RESERVED_LEVELS,
        "snp": tcb.snp,
        "microcode": tcb.microcode,
    }


@dataclass(frozen=True)
class Blueprint:
    """What one machine will answer. Defaults are good; a fault replaces exactly one thing.

    now: when the machine starts; certificates and the list are issued around it.
    host_data: 32 bytes. chip_id: 64 bytes, what the report says; hardware_id: what the VCEK says.
    signed_patch: bytes set by offset before the report is signed; unsigned_patch: after.
    flipped: members of the evidence (leaf, intermediate, root, crl) whose last bit is flipped.
    """

    now: datetime
    host_data: bytes
    chip_id: bytes
    hardware_id: bytes
    # The report.
    version: int = 3
    guest_svn: int = 2
    policy: int = 0x3001F
    vmpl: int = 0
    signature_algorithm: int = 1
    platform_info: int = 0x25
    key_info: int = 0
    measurement: bytes = MEASUREMENT
    cpuid: tuple[int, int, int] = MILAN_CPUID
    current_tcb: Tcb = GOOD_TCB
    reported_tcb: Tcb = GOOD_TCB
    committed_tcb: Tcb = GOOD_TCB
    launch_tcb: Tcb = GOOD_TCB
    signed_patch: Mapping[int, int] = field(default_factory=dict)
    unsigned_patch: Mapping[int, int] = field(default_factory=dict)
    other_claims: bool = False
    stray_tail: bool = False
    missing_bytes: int = 0
    strange_key: bool = False
    # The VCEK.
    levels: Mapping[str, int] = field(default_factory=lambda: levels_of(GOOD_TCB))
    struct_version: int = 0
    product_name: str = "Milan-B0"
    leaf_name: str = VCEK_NAME
    leaf_organization: str = SIMULATED_ORGANIZATION
    issuer_name: str = ASK_NAME
    issuer_organization: str = SIMULATED_ORGANIZATION
    leaf_age: timedelta = _DAY
    leaf_lifetime: timedelta = 7 * 365 * _DAY
    leaf_scheme: Scheme = SHA384
    # The ASK; None: the one that was made with the root.
    ask_reissued: bool = False
    ask_ca: bool = True
    ask_age: timedelta = _DAY
    ask_lifetime: timedelta = 9 * 365 * _DAY
    # The revocation list.
    crl: bool = True
    crl_age: timedelta = _DAY
    crl_lifetime: timedelta = 365 * _DAY
    crl_issuer: str = "ARK-Milan"
    ask_revoked: bool = False
    flipped: frozenset[str] = frozenset()
