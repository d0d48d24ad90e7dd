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

MARK = "claimed_not_approved = true"


@dataclass(frozen=True)
class Draft:
    """text: what is written, which does not load. approved: what it says without MARK.

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
    file: str = "",
) -> Draft:
    """What this machine claims, as a trust file that waits for approval.

    source: who was asked, as a comment may hold it; models: roots (hex) by name; now: with a time
    zone; file: for messages. Raises ConfigError for a claim that no trust file can hold, such as an
    execution policy that allows everything.
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
        head=_head(source, now),
    )
    approved = Trust.parse(text.replace(f"{MARK}\n", "", 1).encode(), file=file)
    return Draft(text, approved, _refusals(claims, approved, now))


def _head(source: str, now: datetime.datetime) -> list[str]:
    return [
        f"# Claimed by {source} at {now.isoformat(timespec='seconds')}. It is genuine, no more.",
        "# Compare every value with what its owner publishes, then delete the next line.",
        MARK,
    ]


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
