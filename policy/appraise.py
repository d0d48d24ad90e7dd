"""Is it acceptable? Compares the claims of genuine evidence with what a trust file expects.

No certificate is touched here and no clock: `attestation.verify` made the claims, `now` is handed
in. Every check runs, so that one refusal shows every difference. The order is that of the report's
meaning: which file, which platform, which firmware, which state, which launch, which software.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sealserve.attestation.verify import Claims, Statement
from sealserve.native.errors import EvidenceError, PolicyViolation
from sealserve.policy import firmware_checks, guest_checks, machine_checks
from sealserve.policy.outcome import Case, Check, Outcome, remark
from sealserve.policy.trust import Trust
from sealserve.policy.verdict import Verdict

CHECKS: Final = (*machine_checks.CHECKS, *firmware_checks.CHECKS, *guest_checks.CHECKS)


def examine(
    statement: Statement, trust: Trust, *, now: datetime, checks: Sequence[Check] = CHECKS
) -> tuple[Outcome, ...]:
    """What each check finds in what evidence says, proven or not. No verdict follows from it.

    A comparison with what the evidence does not tell is a remark.
    """
    case = _case(statement, trust, now)
    return tuple(_outcome(check, case) for check in checks)


def appraise(claims: Claims, trust: Trust, *, now: datetime) -> Verdict:
    """Accept a genuine machine, or raise PolicyViolation with every expectation it does not meet.

    claims: from `attestation.verify` with `trust.roots()`. now: with a time zone, the time at which
    the claims were verified.
    """
    if not isinstance(claims, Claims):
        raise TypeError(f"claims is a {type(claims).__name__}; only verified claims get a verdict")
    case = _case(claims, trust, now)
    outcomes = [check(case) for check in CHECKS]
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


def _case(claims: Statement, trust: Trust, now: datetime) -> Case:
    if now.tzinfo is None:
        raise ValueError("now has no time zone")
    return Case(claims, trust, now.astimezone(UTC))


def _outcome(check: Check, case: Case) -> Outcome:
    try:
        return check(case)
    except EvidenceError as error:  # a TCB that no line lays out so
        return remark(f"not comparable: {error.message}")
