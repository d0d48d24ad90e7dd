"""A diagnosis: everything that is amiss and nothing else, by the table that `verify` walks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sealserve.attestation import Claims, Evidence, Roots, roots, verify
from sealserve.attestation.bench import Pieces
from sealserve.attestation.checks import ALL
from sealserve.attestation.simulated import FAULTS, SimulatedRoot
from sealserve.attestation.verify import Diagnosis, Statement, diagnose
from sealserve.errors import EvidenceError
from support.attestation_simulated import CLAIMS, MILAN, NOW, Kind
from support.attestation_vectors import vector

ENDORSED = Kind(uvm="json")
FAULTY = [
    (kind, name)
    for kind in (MILAN, ENDORSED)
    for name in kind.faults()
    if FAULTS[name].code and (kind is MILAN or name not in MILAN.faults())
]


def diagnosed(evidence: Evidence, roots: Roots) -> Diagnosis:
    return diagnose(Pieces.of(evidence), roots, NOW)


def codes(diagnosis: Diagnosis) -> list[str]:
    return [error.code for error in diagnosis.failures]


@pytest.mark.parametrize(("kind", "name"), FAULTY, ids=str)
def test_each_fault_fails_its_check_alone(
    kind: Kind, name: str, simulated_root: SimulatedRoot
) -> None:
    evidence = kind.machine(simulated_root, name).evidence(CLAIMS)
    assert codes(diagnosed(evidence, kind.roots(simulated_root))) == [FAULTS[name].code]


@pytest.mark.parametrize("kind", [MILAN, ENDORSED, Kind("turin", "vlek")], ids=str)
def test_nothing_is_amiss_with_a_good_machine(kind: Kind, simulated_root: SimulatedRoot) -> None:
    evidence = kind.machine(simulated_root).evidence(CLAIMS)
    diagnosis = diagnosed(evidence, kind.roots(simulated_root))
    assert {answer.state for answer in diagnosis.answers} <= {"ok", "absent"}
    assert [answer.check for answer in diagnosis.answers] == [check.name for check in ALL]
    assert all(answer.sentence for answer in diagnosis.answers)
    assert max(len(answer.check) for answer in diagnosis.answers) <= 20


def test_it_never_hands_out_claims(simulated_root: SimulatedRoot) -> None:
    evidence = MILAN.machine(simulated_root).evidence(CLAIMS)
    roots = MILAN.roots(simulated_root)
    statement = diagnosed(evidence, roots).statement
    assert type(statement) is Statement
    assert not isinstance(statement, Claims)
    claims = verify(evidence, roots, NOW)
    assert isinstance(claims, Claims)
    told = {name: getattr(claims, name) for name in Statement.__slots__}
    assert told == {name: getattr(statement, name) for name in Statement.__slots__}


def test_verify_raises_the_first_failure(simulated_root: SimulatedRoot) -> None:
    faults = ["leaf-expired", "other-key", "snp-level", "other-claims"]
    evidence = MILAN.machine(simulated_root, *faults).evidence(CLAIMS)
    roots = MILAN.roots(simulated_root)
    found = codes(diagnosed(evidence, roots))
    assert found == ["leaf_expired", "report_signature", "tcb_snp", "report_data"]
    with pytest.raises(EvidenceError) as refusal:
        verify(evidence, roots, NOW)
    assert refusal.value.code == found[0]


def test_a_leaf_for_another_firmware_is_not_asked_for_its_chip(
    simulated_root: SimulatedRoot,
) -> None:
    evidence = MILAN.machine(simulated_root, "snp-level", "microcode-level", "hwid").evidence(
        CLAIMS
    )
    assert codes(diagnosed(evidence, MILAN.roots(simulated_root))) == ["tcb_snp"]


def test_a_strangers_chain_is_not_asked_about(simulated_root: SimulatedRoot) -> None:
    """Nor is its list; what its leaf says of the report is."""
    faults = ["leaf-signature", "not-a-ca", "crl-stale", "revoked", "leaf-expired", "snp-level"]
    evidence = MILAN.machine(simulated_root, *faults).evidence(CLAIMS)
    assert codes(diagnosed(evidence, Roots.amd())) == ["untrusted_root", "leaf_expired", "tcb_snp"]


def test_levels_that_cannot_be_read_are_told_once() -> None:
    """A report of another line than its leaf: what it holds where this line holds nothing."""
    pieces = Pieces(
        vector("ms-tav/milan-v3-aci").read("report.bin"),
        vector("ms-tav/turin-v5-aci").read("leaf.der"),
        roots.intermediate("turin", "vcek"),
    )
    diagnosis = diagnose(pieces, Roots.amd(), datetime(2026, 9, 1, tzinfo=UTC))
    found = ["line_mismatch", "report_signature", "tcb_reserved", "report_reserved"]
    assert codes(diagnosis) == found
    states = {answer.check: answer.state for answer in diagnosis.answers}
    assert states["leaf issued for"] == "unasked"


def test_a_level_that_nobody_certifies_leaves_the_others_asked(
    simulated_root: SimulatedRoot,
) -> None:
    evidence = MILAN.machine(simulated_root, "reserved-tcb", "hwid").evidence(CLAIMS)
    assert codes(diagnosed(evidence, MILAN.roots(simulated_root))) == ["tcb_reserved", "hwid"]


def test_a_later_version_is_not_read_as_ours(simulated_root: SimulatedRoot) -> None:
    evidence = MILAN.machine(simulated_root, "report-version-6").evidence(CLAIMS)
    diagnosis = diagnosed(evidence, MILAN.roots(simulated_root))
    states = {answer.check: answer.state for answer in diagnosis.answers}
    assert diagnosis.statement is None
    assert states["report signed"] == "ok"
    for check in ("reserved bytes", "processor", "tcb layout", "leaf issued for", "report data"):
        assert states[check] == "unasked"


def test_a_report_alone(simulated_root: SimulatedRoot) -> None:
    report = MILAN.machine(simulated_root).evidence(CLAIMS).report
    diagnosis = diagnose(Pieces(report), Roots.amd(), NOW)
    assert codes(diagnosis) == ["no_certificate"]
    assert diagnosis.statement is not None
    assert diagnosis.statement.line == "milan"  # as its CPUID says
    states = {answer.check: answer.state for answer in diagnosis.answers}
    assert states["report signed"] == "unasked"


def test_a_report_that_tells_no_line() -> None:
    report = vector("trustee/milan-v2").read("report.bin")
    statement = diagnose(Pieces(report), Roots.amd(), NOW).statement
    assert statement is not None
    assert (statement.line, statement.chip_id) == (None, b"")
    with pytest.raises(EvidenceError) as refusal:
        _ = statement.reported_tcb
    assert refusal.value.code == "line_unknown"


def test_a_leaf_whose_issuer_is_missing(simulated_root: SimulatedRoot) -> None:
    evidence = MILAN.machine(simulated_root).evidence(CLAIMS)
    pieces = Pieces.of(evidence)._replace(intermediate=None)
    assert codes(diagnose(pieces, MILAN.roots(simulated_root), NOW)) == ["no_certificate"]


@pytest.mark.parametrize("member", ["report", "leaf", "intermediate", "root", "crl"])
@pytest.mark.parametrize("data", [b"", b"\x30\x80", bytes(1184), b"\xff" * 1184])
def test_whatever_a_piece_holds_is_an_answer(
    member: str, data: bytes, simulated_root: SimulatedRoot
) -> None:
    evidence = MILAN.machine(simulated_root).evidence(CLAIMS)
    pieces = Pieces.of(evidence)._replace(**{member: data})
    assert diagnose(pieces, MILAN.roots(simulated_root), NOW).failures


def test_now_needs_a_time_zone(simulated_root: SimulatedRoot) -> None:
    evidence = MILAN.machine(simulated_root).evidence(CLAIMS)
    with pytest.raises(ValueError, match="time zone"):
        diagnose(Pieces.of(evidence), Roots.amd(), (NOW + timedelta()).replace(tzinfo=None))
