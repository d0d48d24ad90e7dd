"""Reports that no verifier takes for genuine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sealserve.attestation.simulated.faults.dials import (
    SHORT_CHIP_ID,
    Fault,
    fields,
    policy_bit,
)

FAULTS: Final[Mapping[str, Fault]] = {
    "report-length": Fault("the report is a byte short", "report_length", fields(missing_bytes=1)),
    "report-version-1": Fault(
        "the report is of version 1",
        "report_version_1",
        fields(version=1, mitigations=0, launch_mitigations=0),  # which it has no place for
    ),
    "report-version-6": Fault("the report is of version 6", "report_version_6", fields(version=6)),
    "signature-algorithm": Fault(
        "SIGNATURE_ALGO is unknown", "report_signature_algorithm", fields(signature_algorithm=2)
    ),
    "reserved-signed": Fault(
        "a reserved byte under the signature is set",
        "report_reserved",
        fields(signed_patch={0x4C: 1}),
    ),
    "reserved-unsigned": Fault(
        "a byte after the signature is set", "report_reserved", fields(unsigned_patch={0x49F: 1})
    ),
    "policy-form": Fault("POLICY lacks its fixed bit", "report_reserved", policy_bit(17)),
    "chip-id-tail": Fault(
        "CHIP_ID goes on where it has to be zero",
        "report_reserved",
        fields(signed_patch={0x1A8: 1}),
        only=SHORT_CHIP_ID,
    ),
    "masked-key": Fault("the chip key is masked", "report_masked_key", fields(key_info=2)),
    "no-signing-key": Fault("SIGNING_KEY is none", "report_signing_key", fields(key_info=7 << 2)),
    "zero-signature": Fault(
        "R of the signature is zero",
        "report_signature",
        fields(unsigned_patch=dict.fromkeys(range(0x2A0, 0x2D0), 0)),
    ),
    "other-key": Fault(
        "another key signed the report", "report_signature", fields(strange_key=True)
    ),
    "reserved-tcb": Fault(
        "a reserved byte of LAUNCH_TCB is set", "tcb_reserved", fields(signed_patch={0x1F4: 1})
    ),
    "other-claims": Fault(
        "REPORT_DATA is of other claims", "report_data", fields(other_claims=True)
    ),
    "report-data-tail": Fault(
        "the second half of REPORT_DATA is not zero", "report_data", fields(stray_tail=True)
    ),
}
