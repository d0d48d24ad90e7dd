"""Is it acceptable? Compares the claims of genuine evidence with what a trust file expects.

No certificate is touched here and no clock: `attestation.verify` made the claims, `now` is handed
in. Every check runs, so that one refusal shows every difference. The order is that of the report's
meaning: which file, which platform, which firmware, which state, which launch, which software.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sealserve.attestation.verify import Claims
from sealserve.native.errors import PolicyViolation
from sealserve.policy import firmware_checks, guest_checks, machine_checks
from sealserve.policy.outcome import Case
from sealserve.policy.trust import Trust
from sealserve.policy.verdict import Verdict


def appraise(claims: Claims, trust: Trust, *, now: datetime) -> Verdict:
    """Accept a genuine machine, or raise PolicyViolation with every expectation it does not meet.

    claims: from `attestation.verify` with `trust.roots()`. now: with a time zone, the time at which
    the claims were verified.
    """
    if now.tzinfo is None:
        raise ValueError("now has no time zone")
    case = Case(claims, trust, now.astimezone(UTC))
    checks = (*machine_checks.CHECKS, *firmware_checks.CHECKS, *guest_checks.CHECKS)
    outcomes = [check(case) for check in checks]
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    if findings:
        raise PolicyViolation(
            f'genuine {claims.platform} evidence, but not what "{trust.name}" accepts',
            findings=findings,
        )
    accepted = trust.policy(claims.report.host_data)
    return Verdict(
        trust_name=trust.name,
        platform=trust.kind,
        line=claims.line,
        policy_sha256=claims.report.host_data.hex(),
        policy_note="" if accepted is None else accepted.note,
        measurement=claims.report.measurement.hex(),
        chip_id=claims.chip_id.hex(),
        tcb=claims.reported_tcb,
        checked=tuple(told.sentence for told in outcomes if told.sentence and not told.remark),
        remarks=tuple(told.sentence for told in outcomes if told.remark),
        dangers=trust.danger.sentences(),
        at=now,
    )
