"""Every dial of a simulated machine, set to what a good confidential container shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from sealserve.attestation.report import SigningKey
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.simulated import issue
from sealserve.attestation.simulated.endorser import Statement, UvmForm
from sealserve.attestation.simulated.issue import SHA384, Scheme
from sealserve.attestation.simulated.model import Model
from sealserve.attestation.simulated.provider import CSP_ID
from sealserve.attestation.tcb import CHIP_ID_BYTES, STRUCT_VERSION, Line, Tcb

# The "image" of the simulated platform. It changes when the simulator's behaviour does.
MEASUREMENT: Final = hashlib.sha384(b"sealserve simulated platform, release 1").digest()

ID_KEY_DIGEST: Final = hashlib.sha384(b"ID key of the simulated platform").digest()

Curve = Literal["secp384r1", "secp256r1"]  # of the signing key; AMD's is the first

VLEK_SELECTED: Final = 1 << 2  # SIGNING_KEY in KEY_INFO
CHIP_BYTES: Final = 64  # of the field CHIP_ID, whatever the line needs of it

_DAY: Final = timedelta(days=1)
_SMT_ONLY: Final = 0x01  # PLATFORM_INFO as version 2 reports have it


@dataclass(frozen=True)
class Blueprint:
    """What one machine will answer; `good` makes one in order, a fault replaces exactly one thing.

    now: when the machine starts; certificates and the list are issued around it.
    host_data: 32 bytes. chip_id: 64 bytes, what the report says; hardware_id: what the VCEK says.
    signed_patch: bytes set by offset before the report is signed; unsigned_patch: after.
    flipped: members of the evidence (leaf, intermediate, root, crl) whose last bit is flipped.
    """

    now: datetime
    model: Model
    kind: SigningKey
    host_data: bytes
    chip_id: bytes
    hardware_id: bytes
    csp_id: str
    # The report.
    version: int
    platform_info: int
    key_info: int
    cpuid: tuple[int, int, int]
    current_tcb: Tcb
    reported_tcb: Tcb
    committed_tcb: Tcb
    launch_tcb: Tcb
    current_firmware: tuple[int, int, int]
    committed_firmware: tuple[int, int, int]
    mitigations: int
    launch_mitigations: int
    # The leaf.
    levels: Mapping[str, int]
    struct_version: int
    product_name: str
    leaf_name: str
    issuer_name: str
    # The revocation list.
    crl_issuer: str
    # The endorsement of the launch; None: there is none.
    statement: Statement | None
    # What is the same on every line. First the report.
    guest_svn: int = 2
    policy: int = 0x3001F
    vmpl: int = 0
    signature_algorithm: int = 1
    measurement: bytes = MEASUREMENT
    id_key_digest: bytes = ID_KEY_DIGEST
    signed_patch: Mapping[int, int] = field(default_factory=dict)
    unsigned_patch: Mapping[int, int] = field(default_factory=dict)
    other_claims: bool = False
    stray_tail: bool = False
    missing_bytes: int = 0
    strange_key: bool = False
    # The leaf.
    curve: Curve = "secp384r1"
    leaf_organization: str = SIMULATED_ORGANIZATION
    issuer_organization: str = SIMULATED_ORGANIZATION
    leaf_age: timedelta = _DAY
    leaf_lifetime: timedelta | None = None  # None: seven years for a VCEK, one for a VLEK
    leaf_scheme: Scheme = SHA384
    # The ASK or ASVK; not reissued: the one that was made with the root or the provider. A new one
    # is called as the leaf calls its issuer.
    intermediate_reissued: bool = False
    intermediate_ca: bool = True
    intermediate_age: timedelta = _DAY
    intermediate_lifetime: timedelta = 9 * 365 * _DAY
    # The revocation list.
    crl: bool = True
    crl_age: timedelta = _DAY
    crl_lifetime: timedelta = 371 * _DAY  # as AMD's
    intermediate_revoked: bool = False
    flipped: frozenset[str] = frozenset()

    @property
    def line(self) -> Line:
        """The product line of the machine, whatever it says."""
        return self.model.line


def good(
    now: datetime,
    model: Model,
    kind: SigningKey,
    version: int,
    host_data: bytes,
    chip: bytes,
    endorsed: UvmForm | None = None,
) -> Blueprint:
    """A machine in order. chip: at least as many bytes as the line has of them.

    endorsed: the form of its launch's endorsement, None for a machine without one.
    """
    chip = chip[: CHIP_ID_BYTES[model.line]]
    vlek = kind == "vlek"
    return Blueprint(
        now=now,
        model=model,
        kind=kind,
        host_data=host_data,
        chip_id=bytes(CHIP_BYTES) if vlek else chip.ljust(CHIP_BYTES, b"\0"),
        hardware_id=b"" if vlek else chip,
        csp_id=CSP_ID if vlek else "",
        version=version,
        platform_info=_SMT_ONLY if version < 3 else model.platform_info,
        key_info=VLEK_SELECTED if vlek else 0,
        cpuid=model.cpuid,
        current_tcb=model.tcb,
        reported_tcb=model.tcb,
        committed_tcb=model.tcb,
        launch_tcb=model.tcb,
        current_firmware=model.firmware,
        committed_firmware=model.firmware,
        mitigations=model.mitigations if version >= 5 else 0,
        launch_mitigations=model.mitigations if version >= 5 else 0,
        levels=levels_of(model.tcb),
        struct_version=STRUCT_VERSION[model.line],
        product_name=model.vlek_product if vlek else model.vcek_product,
        leaf_name=issue.LEAF_NAME[kind],
        issuer_name=issue.intermediate_name(model.line, kind),
        crl_issuer=issue.ark_name(model.line),
        statement=Statement(MEASUREMENT, endorsed) if endorsed else None,
    )


def levels_of(tcb: Tcb) -> dict[str, int]:
    """The SPL extensions of a leaf for this TCB, in AMD's order, which differs on Turin."""
    levels = tcb.components()
    if tcb.fmc is not None:
        order = ("fmc", "bootloader", "tee", "snp", "spl5", "spl6", "spl7", "microcode")
    else:
        order = ("bootloader", "tee", "spl4", "spl5", "spl6", "spl7", "snp", "microcode")
    return {name: levels.get(name, 0) for name in order}  # the spl* are reserved
