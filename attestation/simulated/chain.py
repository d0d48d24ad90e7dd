"""What stands above a simulated report: leaf, intermediate, root and revocation list."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealserve.attestation.simulated import issue
from sealserve.attestation.simulated.blueprint import Blueprint
from sealserve.attestation.simulated.provider import SimulatedProvider
from sealserve.attestation.simulated.root import SimulatedRoot, issue_intermediate
from sealserve.attestation.tcb import Line

_YEARS: Final = {"vcek": 7, "vlek": 1}
# What AMD's lists hold: the first ASK of Genoa.
_LISTED: Final[Mapping[Line, tuple[int, ...]]] = {"milan": (), "genoa": (0x20001,), "turin": ()}


@dataclass(frozen=True)
class Chain:
    """Certificates and list, DER; no list where the machine has none."""

    leaf: bytes
    intermediate: bytes
    root: bytes
    crl: bytes | None


def issued(
    plan: Blueprint,
    root: SimulatedRoot,
    provider: SimulatedProvider | None,
    key: ec.EllipticCurvePublicKey,
) -> Chain:
    """The chain above a report that this key signs: a VLEK under a provider, else a VCEK."""
    above, intermediate = (
        (provider.asvk_key, provider.asvk) if provider else (root.ask_key, root.ask)
    )
    chain = Chain(
        leaf=_leaf(plan, above, key),
        intermediate=_intermediate(plan, root, above.public_key(), intermediate),
        root=root.ark,
        crl=_crl(plan, root) if plan.crl else None,
    )
    return replace(
        chain, **{member: _flip_last_bit(getattr(chain, member)) for member in plan.flipped}
    )


def _leaf(plan: Blueprint, signer: rsa.RSAPrivateKey, key: ec.EllipticCurvePublicKey) -> bytes:
    start = plan.now - plan.leaf_age
    end = years_later(start, _YEARS[plan.kind])
    if plan.leaf_lifetime is not None:
        end = start + plan.leaf_lifetime
    return issue.certificate(
        serial=0,  # as in every leaf AMD issues
        issuer=issue.name(plan.issuer_name, plan.issuer_organization),
        subject=issue.name(plan.leaf_name, plan.leaf_organization),
        window=(start, end),
        key=key,
        extensions=issue.leaf_extensions(
            plan.levels,
            struct_version=plan.struct_version,
            product_name=plan.product_name,
            hardware_id=plan.hardware_id,
            csp_id=plan.csp_id,
        ),
        signer=signer,
        scheme=plan.leaf_scheme,
    )


def years_later(start: datetime, years: int) -> datetime:
    """The same day in another year; of a leap day, the one before."""
    leap_day = (start.month, start.day) == (2, 29) and not calendar.isleap(start.year + years)
    return start.replace(year=start.year + years, day=28 if leap_day else start.day)


def _intermediate(
    plan: Blueprint, root: SimulatedRoot, key: rsa.RSAPublicKey, made: bytes
) -> bytes:
    if not plan.intermediate_reissued:
        return made
    window = _window(plan, plan.intermediate_age, plan.intermediate_lifetime)
    return issue_intermediate(
        root.ark_key,
        key,
        plan.line,
        plan.kind,
        window,
        ca=plan.intermediate_ca,
        common_name=plan.issuer_name,
    )


def _crl(plan: Blueprint, root: SimulatedRoot) -> bytes:
    ours = issue.intermediate_serial(plan.line, plan.kind)
    listed = (*_LISTED[plan.line], *((ours,) if plan.intermediate_revoked else ()))
    return issue.crl(
        issuer=issue.name(plan.crl_issuer),
        window=_window(plan, plan.crl_age, plan.crl_lifetime),
        revoked=dict.fromkeys(listed, plan.now - plan.crl_age),
        signer_id=issue.key_id(root.ark_key.public_key()),
        signer=root.ark_key,
    )


def _window(plan: Blueprint, age: timedelta, lifetime: timedelta) -> tuple[datetime, datetime]:
    start = plan.now - age
    return start, start + lifetime


def _flip_last_bit(member: bytes) -> bytes:
    return member[:-1] + bytes([member[-1] ^ 1])
