"""What the service calls compliant: each thing amiss with a machine alone is named."""

from __future__ import annotations

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys.refused import Refused
from sealserve.policy.release_build import SIMULATED_COMPLIANT
from support.attestation_simulated import CLAIMS, machine_of
from support.keys_trustd import LocalTrustd

STATUS = "x-ms-compliance-status"
AMISS = {
    "measurement": "measurement",
    "migration": "policy_migrate_ma",
    "no-alias-check": "alias_check",
    "no-crl": "crl_missing",
    "old-crl": "crl_age",
    "old-tcb": "tcb_reported_floor, tcb_committed_floor",
}
# Release policies name these themselves, or do not care.
OTHERWISE_TOLD = ["debug", "vmpl", "other-chip", "host-data"]


def status(trustd: LocalTrustd, root: SimulatedRoot, fault: str) -> object:
    return trustd.attest(machine_of(root, [fault]).evidence(CLAIMS))[STATUS]


@pytest.mark.parametrize(("fault", "codes"), AMISS.items())
def test_each_thing_amiss_is_named(
    trustd: LocalTrustd, simulated_root: SimulatedRoot, fault: str, codes: str
) -> None:
    assert status(trustd, simulated_root, fault) == f"not-compliant: {codes}"


@pytest.mark.parametrize("fault", OTHERWISE_TOLD)
def test_what_has_a_claim_of_its_own_is_no_matter_of_compliance(
    trustd: LocalTrustd, simulated_root: SimulatedRoot, fault: str
) -> None:
    assert status(trustd, simulated_root, fault) == SIMULATED_COMPLIANT


def test_a_revoked_machine_gets_no_token(
    trustd: LocalTrustd, simulated_root: SimulatedRoot
) -> None:
    with pytest.raises(Refused, match="revoked"):
        status(trustd, simulated_root, "revoked")
