"""Machines of the simulated platform through the production checks, one fault at a time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sealserve.attestation import TlsClaims, verify
from sealserve.attestation.simulated import FAULTS, MEASUREMENT, Machine, SimulatedRoot
from sealserve.native.errors import EvidenceError, PolicyViolation
from sealserve.policy import Trust, Verdict, appraise
from support import policy_case as case

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOST_DATA = case.POLICY
CLAIMS = TlsClaims(bytes(32)).encode()

# What a trust file says about each machine that is genuine all the same.
CODES = {
    "debug": {"policy_debug"},
    "migration": {"policy_migrate_ma"},
    "vmpl": {"vmpl_1"},
    "host-report": {"vmpl_4294967295"},
    "old-tcb": {"tcb_reported_floor", "tcb_committed_floor"},
    "old-reported-tcb": {"tcb_reported_floor"},
    "old-committed-tcb": {"tcb_committed_floor"},
    "other-chip": {"chip_id"},
    "host-data": {"host_data"},
    "measurement": {"measurement"},
    "no-alias-check": {"alias_check"},
    "no-crl": {"crl_missing"},
    "old-crl": {"crl_age"},
}


@pytest.fixture(scope="module")
def root() -> SimulatedRoot:
    return SimulatedRoot.create(NOW)


@pytest.fixture(scope="module")
def trust(root: SimulatedRoot) -> Trust:
    chip = appraised(root, _trust(root)).chip_id
    return _trust(root, ("max_crl_age_days", f'chips = ["{chip}"]\nmax_crl_age_days'))


def _trust(root: SimulatedRoot, *changes: tuple[str, str]) -> Trust:
    return case.trust(
        (case.SNP, case.SIMULATED),
        (case.SIMULATED_ROOT.hex(), root.ark_sha256.hex()),
        (case.MEASUREMENT.hex(), MEASUREMENT.hex()),
        *changes,
    )


def appraised(root: SimulatedRoot, trust: Trust, *faults: str) -> Verdict:
    machine = Machine(root, HOST_DATA, faults=faults, now=NOW)
    claims = verify(machine.evidence(CLAIMS), trust.roots(), NOW)
    return appraise(claims, trust, now=NOW)


def test_a_good_machine_is_accepted(root: SimulatedRoot, trust: Trust) -> None:
    assert appraised(root, trust).platform == "simulated"


def test_every_genuine_fault_is_covered() -> None:
    assert set(CODES) == {name for name, fault in FAULTS.items() if not fault.code}


@pytest.mark.parametrize("fault", CODES)
def test_a_genuine_machine_with_a_fault_is_refused_for_it(
    root: SimulatedRoot, trust: Trust, fault: str
) -> None:
    with pytest.raises(PolicyViolation) as caught:
        appraised(root, trust, fault)
    assert {finding.code for finding in caught.value.findings} == CODES[fault]


def test_a_simulated_machine_never_meets_a_file_for_hardware(root: SimulatedRoot) -> None:
    with pytest.raises(EvidenceError):
        appraised(root, case.trust())
