"""Machines of the simulated platform through the production checks, one fault at a time."""

from __future__ import annotations

import pytest

from sealserve.attestation import verify
from sealserve.attestation.simulated import FAULTS, MEASUREMENT, SimulatedRoot
from sealserve.attestation.simulated.faults.dials import ENDORSED
from sealserve.attestation.simulated.provider import CSP_ID
from sealserve.native.errors import EvidenceError, PolicyViolation
from sealserve.policy import Trust, Verdict, appraise
from support import policy_case as case
from support.attestation_simulated import CLAIMS, HOST_DATA, MILAN, NOW, Kind, endorser_of

KINDS = [MILAN, Kind("genoa"), Kind("genoa-a0"), Kind("turin"), Kind("milan", "vlek", 2)]
ENDORSED_KINDS = [Kind(uvm="json"), Kind("turin", uvm="hash")]
GENUINE = [
    (kind, fault)
    for kind in (*KINDS, *ENDORSED_KINDS)
    for fault in kind.faults()
    if not FAULTS[fault].code and (not kind.uvm or FAULTS[fault].only == ENDORSED)
]


def trust_in(kind: Kind, keys: SimulatedRoot, *changes: tuple[str, str]) -> Trust:
    """A trust file that accepts good machines of this kind."""
    known = f'chips = ["{chip(kind, keys)}"]'
    if kind.key == "vlek":
        known = f'vlek_providers = ["{CSP_ID}"]'
    launch = case.MEASURED.replace(case.MEASUREMENT.hex(), MEASUREMENT.hex())
    if kind.uvm:
        launch = case.ENDORSED.replace(case.ISSUER, endorser_of(keys).issuer)
    return case.trust(
        (case.SNP, case.SIMULATED),
        (case.SIMULATED_ROOT.hex(), kind.root(keys).ark_sha256.hex()),
        (case.MEASURED, launch),
        (case.POLICY.hex(), HOST_DATA.hex()),
        ("expires = 2027-03-31", "expires = 2199-03-31"),
        ("max_crl_age_days", f"{known}\nmax_crl_age_days"),
        *changes,
    )


def chip(kind: Kind, keys: SimulatedRoot) -> str:
    """The chip of good machines of this kind."""
    return verify(kind.machine(keys).evidence(CLAIMS), kind.roots(keys), NOW).chip_id.hex()


def appraised(kind: Kind, keys: SimulatedRoot, trust: Trust, *faults: str) -> Verdict:
    evidence = kind.machine(keys, *faults).evidence(CLAIMS)
    return appraise(verify(evidence, trust.roots(), NOW), trust, now=NOW)


@pytest.mark.parametrize("kind", [*KINDS, *ENDORSED_KINDS], ids=str)
def test_a_good_machine_is_accepted(kind: Kind, simulated_root: SimulatedRoot) -> None:
    verdict = appraised(kind, simulated_root, trust_in(kind, simulated_root))
    assert (verdict.platform, verdict.line) == ("simulated", kind.line)


@pytest.mark.parametrize(("kind", "fault"), GENUINE, ids=str)
def test_a_genuine_machine_with_a_fault_is_refused_for_it_alone(
    simulated_root: SimulatedRoot, kind: Kind, fault: str
) -> None:
    with pytest.raises(PolicyViolation) as caught:
        appraised(kind, simulated_root, trust_in(kind, simulated_root), fault)
    found = [finding.code for finding in caught.value.findings]
    assert found == [*FAULTS[fault].findings]


def test_a_machine_of_another_line(simulated_root: SimulatedRoot) -> None:
    """No fault: its root alone makes it another machine."""
    genoa = Kind("genoa")
    known = f'chips = ["{chip(genoa, simulated_root)}"]'
    rest = case.TRUST[case.TRUST.index("[hardware.tcb.genoa]") : case.TRUST.index("[launch]")]
    trust = trust_in(
        genoa, simulated_root, ('["milan", "genoa", "turin"]', '["milan"]'), (rest, ""), (known, "")
    )
    with pytest.raises(PolicyViolation) as caught:
        appraised(genoa, simulated_root, trust)
    assert [finding.code for finding in caught.value.findings] == ["line"]


def test_a_simulated_machine_never_meets_a_file_for_hardware(
    simulated_root: SimulatedRoot,
) -> None:
    with pytest.raises(EvidenceError):
        appraised(MILAN, simulated_root, case.trust())
