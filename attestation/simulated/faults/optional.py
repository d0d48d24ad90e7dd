"""Machines that only a trust file refuses which asks for more than every file has to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from sealserve.attestation.simulated.blueprint import Blueprint
from sealserve.attestation.simulated.faults.dials import (
    MITIGATED,
    Change,
    Fault,
    Only,
    fields,
    policy_bit,
)

_OLD_FIRMWARE: Final = (1, 49, 1)  # build, minor, major: before every model here
_OTHER_KEY: Final = hashlib.sha384(b"ID key of somebody else").digest()

# Bits by the names a trust file has for them; those it always asks for are no choice of it.
_FIELD: Final = {"policy": "POLICY", "platform": "PLATFORM_INFO"}
_POLICY_BITS: Final = {
    "smt": 16,
    "single_socket": 20,
    "aes_256_xts": 22,
    "rapl_disabled": 23,
    "ciphertext_hiding": 24,
    "page_swap_disabled": 25,
}
_PLATFORM_BITS: Final = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl_disabled": 3,
    "ciphertext_hiding": 4,
    "tio": 7,
}


def _old_at_launch(plan: Blueprint) -> Blueprint:
    return replace(plan, launch_tcb=plan.model.old_tcb)


def _platform_bit(bit: int) -> Change:
    return lambda plan: replace(plan, platform_info=plan.platform_info ^ 1 << bit)


def _asked(what: str, change: Change, finding: str, only: Only | None = None) -> Fault:
    return Fault(what, "", change, (finding,), only, optional=True)


def _bits(
    register: str, bits: Mapping[str, int], change: Callable[[int], Change]
) -> dict[str, Fault]:
    """A fault per bit of POLICY or PLATFORM_INFO."""
    return {
        f"{register}-{name.replace('_', '-')}": _asked(
            f"bit {bit} of {_FIELD[register]} is turned over", change(bit), f"{register}_{name}"
        )
        for name, bit in bits.items()
    }


FAULTS: Final[Mapping[str, Fault]] = {
    "old-launch-tcb": _asked(
        "the platform ran an old TCB when the guest was launched",
        _old_at_launch,
        "tcb_launch_floor",
    ),
    "old-firmware": _asked(
        "the SEV firmware that runs is old",
        fields(current_firmware=_OLD_FIRMWARE),
        "firmware_current",
    ),
    "old-committed-firmware": _asked(
        "the platform may fall back to an old SEV firmware",
        fields(committed_firmware=_OLD_FIRMWARE),
        "firmware_committed",
    ),
    "mitigations": _asked(
        "no mitigation is on", fields(mitigations=0), "mitigations_current", MITIGATED
    ),
    "mitigations-at-launch": _asked(
        "no mitigation was on at launch",
        fields(launch_mitigations=0),
        "mitigations_launch",
        MITIGATED,
    ),
    "id-key": _asked(
        "somebody else's key signed the ID block", fields(id_key_digest=_OTHER_KEY), "id_key"
    ),
    **_bits("policy", _POLICY_BITS, policy_bit),
    **_bits("platform", _PLATFORM_BITS, _platform_bit),
}
