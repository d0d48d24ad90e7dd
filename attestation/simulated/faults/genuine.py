"""Machines that are genuine all the same: whether to accept them is the client's question."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sealserve.attestation.simulated.blueprint import CHIP_BYTES, Blueprint
from sealserve.attestation.simulated.faults.dials import (
    CHIP_KEY,
    KNOWS_CPU,
    PROVIDER_KEY,
    UNENDORSED,
    Change,
    Fault,
    certified,
    fields,
    policy_bit,
)
from sealserve.attestation.simulated.model import Model
from sealserve.attestation.tcb import Tcb

OTHER_CHIP: Final = hashlib.sha512(b"another simulated chip").digest()

_ALIAS_CHECK_COMPLETE: Final = 1 << 5  # PLATFORM_INFO
# SHA-256 of the allow-all policy that confidential containers on Azure start with by default.
_ALLOW_ALL: Final = bytes.fromhex(
    "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20"
)


def _other_chip(plan: Blueprint) -> Blueprint:
    chip = OTHER_CHIP[: len(plan.hardware_id)]
    return replace(plan, chip_id=chip.ljust(CHIP_BYTES, b"\0"), hardware_id=chip)


def _without_alias_check(plan: Blueprint) -> Blueprint:
    return replace(plan, platform_info=plan.platform_info & ~_ALIAS_CHECK_COMPLETE)


def _old(model: Model) -> Tcb:
    return model.old_tcb


def _old_committed(plan: Blueprint) -> Blueprint:
    return replace(plan, committed_tcb=plan.model.old_tcb)


def _trust(what: str, change: Change, *findings: str) -> Fault:
    return Fault(what, "", change, findings)


FAULTS: Final[Mapping[str, Fault]] = {
    "debug": _trust(
        "the host may read guest memory (POLICY.DEBUG)", policy_bit(19), "policy_debug"
    ),
    "migration": _trust(
        "a migration agent may be bound (POLICY.MIGRATE_MA)", policy_bit(18), "policy_migrate_ma"
    ),
    "cxl": _trust("memory may lie on CXL devices (POLICY.CXL_ALLOW)", policy_bit(21), "policy_cxl"),
    "vmpl": _trust("the report was asked for at VMPL 1", fields(vmpl=1), "vmpl_1"),
    "vmpl-2": _trust("the report was asked for at VMPL 2", fields(vmpl=2), "vmpl_2"),
    "vmpl-3": _trust("the report was asked for at VMPL 3", fields(vmpl=3), "vmpl_3"),
    "host-report": _trust(
        "the host asked for the report, no guest", fields(vmpl=0xFFFFFFFF), "vmpl_4294967295"
    ),
    "old-tcb": _trust(
        "the platform fell back to an old TCB, after the launch",
        certified(_old, "current_tcb", "committed_tcb"),
        "tcb_reported_floor",
        "tcb_committed_floor",
    ),
    "old-reported-tcb": _trust(
        "the signing key proves an old TCB only", certified(_old), "tcb_reported_floor"
    ),
    "old-committed-tcb": _trust(
        "the platform may fall back to an old TCB", _old_committed, "tcb_committed_floor"
    ),
    "other-chip": Fault("another machine answers", "", _other_chip, ("chip_id",), CHIP_KEY),
    "other-provider": Fault(
        "another provider enrolled the machine",
        "",
        fields(csp_id="CN=another-provider.invalid"),
        ("vlek_provider",),
        PROVIDER_KEY,
    ),
    "host-data": _trust(
        "another policy was launched", fields(host_data=bytes([0xAA] * 32)), "host_data"
    ),
    "permissive-policy": _trust(
        "a policy that allows everything was launched",
        fields(host_data=_ALLOW_ALL),
        "host_data_permissive",
    ),
    "measurement": Fault(
        "another image was launched",
        "",
        fields(measurement=bytes([0xAA] * 48)),
        ("measurement",),
        UNENDORSED,  # an endorsement would be of another one, and that is not genuine
    ),
    "no-alias-check": Fault(
        "memory was not checked for aliases (AMD-SB-3015)",
        "",
        _without_alias_check,
        ("alias_check",),
        KNOWS_CPU,
    ),
    "no-crl": _trust("no revocation list is stapled", fields(crl=False), "crl_missing"),
    "old-crl": _trust(
        "the stapled list is 500 days old, and valid for longer than AMD's",
        fields(crl_age=timedelta(days=500), crl_lifetime=timedelta(days=600)),
        "crl_age",
    ),
}
