"""A trust file out of what a genuine machine claims: useless until a person has approved it.

A machine's own word is no reason to trust it. So the file says in its first lines where it came
from, and does not load before somebody deletes one of them. Nothing is loosened for the machine:
its firmware is compared with the recommendation, and no danger is accepted on its behalf.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sealserve.attestation.verify import Claims
from sealserve.native.errors import ConfigError, Finding, PolicyViolation
from sealserve.policy.appraise import appraise
from sealserve.policy.expectations import NO_POLICY, Kind, MeasuredLaunch, Noted, UvmLaunch
from sealserve.policy.trust import Trust
from sealserve.policy.trust_text import trust_text


@dataclass(frozen=True)
class Draft:
    """text: what is written, which does not load. approved: what it says without its first lines.

    refusals: why the machine it came from would be refused all the same.
    """

    text: str
    approved: Trust
    refusals: tuple[Finding, ...]


def draft(
    claims: Claims,
    *,
    source: str,
    now: datetime.datetime,
    name: str,
    kind: Kind,
    simulated_root_sha256: str,
    models: Mapping[str, Sequence[str]],
    expires: datetime.date | None,
) -> Draft:
    """What this machine claims, as a trust file that waits for approval.

    source: who was asked; models: roots (hex) by name; now: with a time zone. Raises ConfigError
    for a claim that no trust file can hold, such as an execution policy that allows everything.
    """
    text = trust_text(
        name=name,
        kind=kind,
        simulated_root_sha256=simulated_root_sha256,
        lines=[claims.line],
        launch=_launch(claims, kind),
        policies=_policies(claims),
        models=models,
        expires=expires,
        vlek_providers=[claims.csp_id] if claims.csp_id else [],
        remarks=_remarks(claims),
    )
    approved = Trust.parse(text.encode())
    return Draft(_header(source, now) + text, approved, _refusals(claims, approved, now))


def _header(source: str, now: datetime.datetime) -> str:
    return (
        f"# Claimed by {source} at {now.isoformat(timespec='seconds')}. It is genuine, no more.\n"
        "# Compare every value with what its owner publishes, then delete the next line.\n"
        "claimed_not_approved = true\n\n"
    )


def _launch(claims: Claims, kind: Kind) -> UvmLaunch | MeasuredLaunch:
    endorsement = claims.endorsement
    if endorsement is not None:
        return UvmLaunch(endorsement.issuer, endorsement.feed, endorsement.svn)
    if kind == "aci":
        raise ConfigError(
            "the server sent no endorsement of its launch, as confidential containers have one",
            key="--platform",
            hint="another SEV-SNP machine is --platform snp",
        )
    return MeasuredLaunch((Noted(claims.report.measurement, "claimed"),))


def _policies(claims: Claims) -> list[Noted]:
    seen = claims.report.host_data
    return [] if seen == NO_POLICY else [Noted(seen, "claimed")]


def _remarks(claims: Claims) -> list[str]:
    remarks = [f"The machine reports: {claims.reported_tcb}"]
    if any(claims.chip_id):
        remarks.append(f'chips = ["{claims.chip_id.hex()}"]  # to accept this machine alone')
    return remarks


def _refusals(claims: Claims, approved: Trust, now: datetime.datetime) -> tuple[Finding, ...]:
    try:
        appraise(claims, approved, now=now)
    except PolicyViolation as violation:
        return violation.findings
    return ()
