"""A trust file in plain words: what it accepts, one expectation per line."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sealserve.attestation.report import ACCEPTED_VERSIONS
from sealserve.policy.expectations import (
    NO_POLICY,
    Bits,
    Guest,
    Hardware,
    Kind,
    MeasuredLaunch,
    Noted,
    UvmLaunch,
    days,
)

if TYPE_CHECKING:
    from sealserve.policy.trust import Trust


def explain(trust: Trust) -> str:
    """What this file accepts; dangers come last."""
    root = trust.simulated_root_sha256
    lines = [
        trust.name,
        f"  file       {trust.file or 'not from a file'}",
        f"  expires    {_expiry(trust.expires)}",
        f"  platform   {_PLATFORMS[trust.kind]}",
        *([f"  root       {root.hex()}"] if root is not None else []),
        *_hardware(trust.hardware),
        *_launch(trust.launch),
        *_guest(trust.guest),
        *_policies(trust.policies),
        *_models(trust.models),
        "  always     an unbroken signature chain, memory checked for aliases; no debug,",
        "             no migration, no CXL, VMPL 0, a fresh nonce, unless said below",
        *(f"  DANGER     {sentence}" for sentence in trust.danger.sentences()),
    ]
    return "\n".join(lines)


_PLATFORMS: Mapping[Kind, str] = {
    "aci": "confidential containers on Azure Container Instances, AMD SEV-SNP",
    "snp": "AMD SEV-SNP",
    "simulated": "SIMULATED: proves nothing about hardware",
}


def _expiry(expires: datetime.date | None) -> str:
    return "never; nobody is reminded to review it" if expires is None else f"after {expires}"


def _hardware(hardware: Hardware) -> list[str]:
    chips = f"one of {len(hardware.chips)} listed" if hardware.chips else "any"
    chips += f" but {len(hardware.denied_chips)} denied" if hardware.denied_chips else ""
    providers = "; or a provider's key (VLEK) of " + ", ".join(hardware.vlek_providers)
    return [
        f"  hardware   {' or '.join(hardware.lines)}; chip: {chips}; signed by the chip's own key "
        f"(VCEK){providers if hardware.vlek_providers else ''}",
        *(f"  firmware   {name}: at least {floor}" for name, floor in hardware.floors.items()),
        *_firmware(hardware),
        *_bits("platform", "PLATFORM_INFO", hardware.platform_info),
        f"  revocation a list at most {days(hardware.max_crl_age_days)} old",
    ]


def _firmware(hardware: Hardware) -> list[str]:
    told = (
        (hardware.floor_at_launch, "as much was running when the guest was launched"),
        (
            hardware.minimum_firmware is not None,
            f"SEV firmware {hardware.minimum_firmware} or later, and no way back before it",
        ),
        (
            hardware.mitigations > 0,
            f"mitigations 0x{hardware.mitigations:x} on, now and at launch",
        ),
        (
            hardware.minimum_report_version > ACCEPTED_VERSIONS[0],
            f"reports of version {hardware.minimum_report_version} or later",
        ),
    )
    return [f"  firmware   {sentence}" for applies, sentence in told if applies]


def _guest(guest: Guest) -> list[str]:
    return [
        *_bits("guest", "POLICY", guest.policy),
        *(f"  launch     ID block signed by key {key.hex()}" for key in guest.id_keys),
        *(f"  launch     ID key signed by author {key.hex()}" for key in guest.author_keys),
    ]


def _bits(what: str, field: str, bits: Bits) -> list[str]:
    told = [f"{bit} set" for bit in bits.set] + [f"{bit} clear" for bit in bits.clear]
    return [f"  {what:<10} {', '.join(told)} ({field})"] if told else []


def _launch(launch: UvmLaunch | MeasuredLaunch) -> list[str]:
    if isinstance(launch, MeasuredLaunch):
        return [_noted("launch     measurement", noted) for noted in launch.measurements]
    return [
        f"  launch     any measurement endorsed for {launch.feed}, version {launch.minimum_svn} "
        f"or later, by {launch.issuer}"
    ]


def _policies(policies: tuple[Noted, ...]) -> list[str]:
    if policies[0].digest == NO_POLICY:
        return ["  software   NO execution policy: what runs is told by the measurement alone"]
    return [_noted("software   execution policy", noted) for noted in policies]


def _models(models: Mapping[str, tuple[bytes, ...]]) -> list[str]:
    return [
        f"  model      {name}: root {root.hex()}"
        for name, roots in models.items()
        for root in roots
    ]


def _noted(what: str, noted: Noted) -> str:
    return f"  {what} {noted.digest.hex()}{f' ({noted.note})' if noted.note else ''}"
