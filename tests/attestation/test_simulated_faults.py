"""Each fault of a machine is refused by exactly its check, on every kind of machine."""

from __future__ import annotations

import pytest

from sealserve.attestation import certs, checks, crl, der, report, roots, tcb, uvm, verify
from sealserve.attestation.bench import Pieces
from sealserve.attestation.simulated import FAULTS, Machine, SimulatedRoot
from sealserve.attestation.simulated.faults.dials import ENDORSED
from sealserve.attestation.verify import diagnose
from support.attestation_codes import codes_in
from support.attestation_refusals import refused
from support.attestation_simulated import CLAIMS, HOST_DATA, MILAN, NOW, Kind, endorser_of

KINDS = [
    MILAN,
    Kind("milan", version=2),
    Kind("milan", "vlek"),
    Kind("genoa-a0"),
    Kind("genoa", version=4),
    Kind("turin"),
    Kind("turin", "vlek"),
]
ENDORSED_KINDS = [Kind(uvm="json"), Kind("turin", uvm="hash")]


def shown_by(kind: Kind) -> list[str]:
    """The faults to try on it: of an endorsed one, which takes longer, only what it alone has."""
    return [name for name in kind.faults() if not kind.uvm or FAULTS[name].only == ENDORSED]


EVERY = [(kind, name) for kind in (*KINDS, *ENDORSED_KINDS) for name in shown_by(kind)]
GENUINE = [(kind, name) for kind, name in EVERY if not FAULTS[name].code]
REFUSED = [(kind, name) for kind, name in EVERY if FAULTS[name].code]


@pytest.mark.parametrize("kind", [*KINDS, *ENDORSED_KINDS], ids=str)
def test_a_good_machine(kind: Kind, simulated_root: SimulatedRoot) -> None:
    claims = verify(kind.machine(simulated_root).evidence(CLAIMS), kind.roots(simulated_root), NOW)
    assert (claims.line, claims.signing_key) == (kind.line, kind.key)
    assert claims.report.version == kind.report_version
    assert (claims.report.cpuid is None) == (kind.report_version < 3)
    assert (claims.report.current_mitigations is None) == (kind.report_version < 5)
    assert any(claims.chip_id) == (kind.key == "vcek")
    assert (claims.endorsement is None) == (kind.uvm is None)


@pytest.mark.parametrize("kind", ENDORSED_KINDS, ids=str)
def test_what_the_endorsement_says(kind: Kind, simulated_root: SimulatedRoot) -> None:
    claims = verify(kind.machine(simulated_root).evidence(CLAIMS), kind.roots(simulated_root), NOW)
    said = claims.endorsement
    assert said is not None
    assert said.issuer == endorser_of(simulated_root).issuer
    assert (said.feed, said.svn, said.simulated) == ("ContainerPlat-AMD-UVM", 104, True)
    assert said.measurement == claims.report.measurement


@pytest.mark.parametrize(("kind", "fault"), GENUINE, ids=str)
def test_what_is_genuine_but_odd_passes(
    kind: Kind, fault: str, simulated_root: SimulatedRoot
) -> None:
    """Whether to accept it is another question, and another folder's."""
    machine = kind.machine(simulated_root, fault)
    verify(machine.evidence(CLAIMS), kind.roots(simulated_root), NOW)


@pytest.mark.parametrize(("kind", "fault"), REFUSED, ids=str)
def test_each_fault_is_refused_by_its_check_and_no_other(
    kind: Kind, fault: str, simulated_root: SimulatedRoot
) -> None:
    told, trusted = kind.machine(simulated_root, fault).evidence(CLAIMS), kind.roots(simulated_root)
    with refused(FAULTS[fault].code):
        verify(told, trusted, NOW)
    answers = diagnose(Pieces.of(told), trusted, NOW).answers  # asks every check
    failed = {answer.failure.code for answer in answers if answer.failure is not None}
    assert failed == {FAULTS[fault].code}


def test_every_fault_shows_somewhere() -> None:
    assert {name for _, name in EVERY} == FAULTS.keys()


# Codes that no machine in this table shows, and why.
NO_MACHINE = {
    "no_certificate": "evidence without a certificate is not evidence (evidence_malformed)",
    "root_signature": "a root is believed for its digest alone: test_verify.py, another root",
    "root_early": "the same",
    "root_expired": "the same",
    "certificate_size": "an encoding, not a machine: test_certs.py",
    "certificate_unparseable": "an encoding, not a machine: test_certs.py, test_der.py",
    "crl_size": "an encoding, not a machine: test_crl.py",
}


def test_every_code_has_a_machine() -> None:
    """Of all that the modules of the checks can report."""
    shown = {FAULTS[name].code for _, name in REFUSED} | NO_MACHINE.keys()
    known = codes_in(checks, report, certs, crl, der, tcb, roots, uvm)
    assert {code.pattern for code in known if not any(map(code.fullmatch, shown))} == set()
    assert not NO_MACHINE.keys() & {FAULTS[name].code for _, name in REFUSED}


ELSEWHERE = {
    "fmc-level": (MILAN, "machines of the line turin"),
    "extra-level": (Kind("turin"), "machines of the lines milan and genoa"),
    "other-chip": (Kind("milan", "vlek"), "machines that sign with a VCEK"),
    "other-provider": (MILAN, "machines that sign with a VLEK"),
    "line": (Kind("milan", version=2), "reports of version 3 and later"),
    "old-uvm": (MILAN, "machines with an endorsement"),
    "measurement": (Kind(uvm="hash"), "machines without an endorsement"),
    "chip-id-tail": (Kind("turin", "vlek"), "machines of the line turin that sign with a VCEK"),
}


@pytest.mark.parametrize("fault", ELSEWHERE)
def test_a_fault_that_would_not_show_is_refused(fault: str, simulated_root: SimulatedRoot) -> None:
    kind, words = ELSEWHERE[fault]
    with pytest.raises(ValueError, match=f"{fault}.*shows only on {words}"):
        kind.machine(simulated_root, fault)


def test_a_fault_nobody_knows(simulated_root: SimulatedRoot) -> None:
    with pytest.raises(ValueError, match="no fault is called 'debugg'"):
        MILAN.machine(simulated_root, "debugg")


def test_machines_that_cannot_be(simulated_root: SimulatedRoot) -> None:
    for settings, words in (
        ({"model": "turin"}, "a turin machine is not under the root of milan"),
        ({"report_version": 6}, "no report has version 6"),
    ):
        with pytest.raises(ValueError, match=words):
            Machine(simulated_root, HOST_DATA, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="31 bytes"):
        Machine(simulated_root, HOST_DATA[1:])
