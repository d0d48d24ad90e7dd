"""Leaves that are no VCEK or VLEK of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sealserve.attestation.simulated.blueprint import VLEK_SELECTED, Blueprint
from sealserve.attestation.simulated.faults.dials import (
    BEFORE_TURIN,
    CHIP_KEY,
    KNOWS_CPU,
    PROVIDER_KEY,
    TURIN,
    Fault,
    another_model,
    fields,
    level,
    raised_level,
    without_level,
)
from sealserve.attestation.simulated.faults.genuine import OTHER_CHIP

_BEYOND_A_BYTE: Final = 475


def _other_kind(plan: Blueprint) -> Blueprint:
    return replace(plan, key_info=plan.key_info ^ VLEK_SELECTED)


def _other_cpu(plan: Blueprint) -> Blueprint:
    return replace(plan, cpuid=another_model(plan).cpuid)


def _other_product(plan: Blueprint) -> Blueprint:
    return replace(plan, product_name=another_model(plan).vcek_product)


def _other_structure(plan: Blueprint) -> Blueprint:
    return replace(plan, struct_version=1 - plan.struct_version)


def _other_hardware(plan: Blueprint) -> Blueprint:
    return replace(plan, hardware_id=OTHER_CHIP[: len(plan.hardware_id)])


FAULTS: Final[Mapping[str, Fault]] = {
    "key-kind": Fault("the report names the other kind of key", "leaf_kind", _other_kind),
    "leaf-name": Fault(
        "the leaf is no VCEK or VLEK by name", "leaf_kind", fields(leaf_name="SEV-KEY")
    ),
    "leaf-key": Fault(
        "the leaf holds a key on another curve", "leaf_key", fields(curve="secp256r1")
    ),
    "line": Fault("CPUID is of another line", "line_mismatch", _other_cpu, only=KNOWS_CPU),
    "unknown-line": Fault(
        "CPUID says Venice", "line_mismatch", fields(cpuid=(0x1A, 0x50, 0x00)), only=KNOWS_CPU
    ),
    "issuer-line": Fault(
        "the leaf's issuer is no line",
        "line_unknown",
        fields(issuer_name="SEV-X", intermediate_reissued=True),
    ),
    "struct-version": Fault("structVersion is another line's", "struct_version", _other_structure),
    "product-name": Fault("productName is another line's", "product_name", _other_product),
    "fmc-level": Fault("the leaf's fmcSPL differs", "tcb_fmc", raised_level("fmc"), only=TURIN),
    "bootloader-level": Fault("the leaf's blSPL differs", "tcb_bl", raised_level("bootloader")),
    "tee-level": Fault("the leaf's teeSPL differs", "tcb_tee", raised_level("tee")),
    "snp-level": Fault("the leaf's snpSPL differs", "tcb_snp", raised_level("snp")),
    "microcode-level": Fault("the leaf's ucodeSPL differs", "tcb_ucode", raised_level("microcode")),
    "missing-level": Fault("the leaf has no snpSPL", "tcb_snp", without_level("snp")),
    "extra-level": Fault(
        "the leaf has an fmcSPL, which only Turin has",
        "leaf_extension",
        level("fmc", 1),
        only=BEFORE_TURIN,
    ),
    "reserved-level": Fault("a reserved SPL is not zero", "leaf_extension", level("spl5", 1)),
    "large-level": Fault(
        "an SPL exceeds a byte", "leaf_extension", level("microcode", _BEYOND_A_BYTE)
    ),
    "hwid": Fault("the VCEK is another chip's", "hwid", _other_hardware, only=CHIP_KEY),
    "missing-hwid": Fault("the VCEK has no hwID", "hwid", fields(hardware_id=b""), only=CHIP_KEY),
    "missing-provider": Fault(
        "the VLEK has no cspID", "leaf_extension", fields(csp_id=""), only=PROVIDER_KEY
    ),
}
