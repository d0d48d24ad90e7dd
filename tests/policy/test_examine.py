"""What the checks find in a statement nobody proved: everything, and never a verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from sealserve.attestation import Claims
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.attestation.verify import Statement
from sealserve.policy import appraise, assumed
from sealserve.policy.appraise import CHECKS, examine
from sealserve.policy.outcome import Outcome
from support.policy_case import ENDORSED, FEED, ISSUER, MEASURED, NOW, claims, trust


def said(**fields: object) -> Statement:
    """Good claims as a mere statement, with these fields of it or of its report."""
    whole = claims(**fields)
    return Statement(**{name: getattr(whole, name) for name in Statement.__slots__})


def codes(outcomes: tuple[Outcome, ...]) -> list[str]:
    return [finding.code for outcome in outcomes for finding in outcome.findings]


def test_a_good_statement_has_no_findings_and_no_verdict() -> None:
    outcomes = examine(said(), trust(), now=NOW)
    assert len(outcomes) == len(CHECKS)
    assert codes(outcomes) == []


def test_only_verified_claims_get_a_verdict() -> None:
    with pytest.raises(TypeError, match="only verified claims"):
        appraise(cast(Claims, said()), trust(), now=NOW)


def test_every_difference_is_found() -> None:
    outcomes = examine(said(vmpl=1, host_data=bytes(32)), trust(), now=NOW)
    assert codes(outcomes) == ["vmpl_1", "host_data"]


def test_an_endorsement_of_something_else_is_judged_all_the_same() -> None:
    """That it is old, and of what, are two findings."""
    old = UvmEndorsement(ISSUER, FEED, 22, bytes(48), NOW, simulated=False)
    outcomes = examine(said(endorsement=old), trust((MEASURED, ENDORSED)), now=NOW)
    assert codes(outcomes) == ["uvm_measurement", "uvm_untrusted_issuer_or_svn"]


def test_what_cannot_be_read_is_no_difference() -> None:
    """A TCB of a line nobody knows, or one that its line does not lay out so."""
    unknown = examine(replace(said(), line=None), trust(), now=NOW)
    assert codes(unknown) == ["line"]
    odd = examine(said(reported_tcb=b"\xff" * 8), trust(), now=NOW)
    assert codes(odd) == []
    for outcomes in (unknown, odd):
        remarks = [outcome.sentence for outcome in outcomes if outcome.remark]
        assert any(remark.startswith("not comparable: ") for remark in remarks)


def test_what_is_assumed_accepts_nothing_by_itself() -> None:
    """It has no policy and no model, so a verdict by it is impossible, whatever the machine."""
    assert examine(said(), assumed.TRUST, now=NOW, checks=assumed.checks(said()))
    assert "host_data" in codes(examine(said(), assumed.TRUST, now=NOW))
    with pytest.raises(Exception, match="host_data"):
        appraise(claims(), assumed.TRUST, now=NOW)


def test_now_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        examine(said(), trust(), now=NOW.replace(tzinfo=None))
