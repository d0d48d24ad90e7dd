"""A client and a server on hardware: nobody but the server is asked, nothing is taken on faith.

The chip is ours and so is its root; whom the trust file believes is put in AMD's place.
"""

from __future__ import annotations

import pytest

from sealserve.attestation.certificate_table import ASK, VCEK, CertificateTable
from sealserve.attestation.simulated import MEASUREMENT, SimulatedRoot
from sealserve.errors import EvidenceError, PolicyViolation
from sealserve.inference.client import connect
from sealserve.policy import Trust
from support import client_case, policy_case
from support.attestation_hardware import Place, own_place
from support.attestation_table import table
from support.attestation_uvm import good
from support.client_server import MODEL

ROWS = {"x": [[1.0, 2.0, 3.0]]}


def trust(*changes: client_case.Change) -> Trust:
    return policy_case.trust(
        (policy_case.MEASUREMENT.hex(), MEASUREMENT.hex()),
        ("expires = 2027-03-31", "expires = 2199-03-31"),
        *changes,
    )


@pytest.fixture
def place(simulated_root: SimulatedRoot, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = own_place(simulated_root, client_case.POLICY)
    monkeypatch.setattr(Trust, "roots", lambda _self: place.roots)
    return place


def test_a_client_needs_no_network_but_the_server(place: Place) -> None:
    source = place.source()
    source.prepare(lambda _why: None)
    with client_case.live(source) as server, connect(server.target, trust()) as client:
        assert client.verdict.platform == "snp"
        assert client.predict(MODEL, ROWS)["rows"].tolist() == [1]
    source.close()


def endorsed_by(issuer: str) -> Trust:
    """What a client expects of Container Instances: an endorsement by this issuer."""
    endorsed = policy_case.ENDORSED.replace(policy_case.ISSUER, issuer)
    measured = policy_case.MEASURED.replace(policy_case.MEASUREMENT.hex(), MEASUREMENT.hex())
    return trust((policy_case.SNP, policy_case.ACI), (measured, endorsed))


def test_container_instances_bring_their_endorsement(place: Place) -> None:
    source = place.source(endorsement=good().form_b(payload=MEASUREMENT))
    source.platform = "aci"
    source.prepare(lambda _why: None)
    with client_case.live(source) as server:
        with connect(server.target, endorsed_by(good().did)) as client:
            assert client.predict(MODEL, ROWS)["rows"].tolist() == [1]
        with pytest.raises(PolicyViolation, match="wanted issuer"):
            connect(server.target, endorsed_by(policy_case.ISSUER))
    source.close()


def test_an_endorsement_of_another_launch_is_refused(place: Place) -> None:
    source = place.source(endorsement=good().form_b(payload=bytes(48)))
    with client_case.live(source) as server:
        with pytest.raises(EvidenceError) as refusal:
            connect(server.target, endorsed_by(good().did))
        assert refusal.value.code == "uvm_measurement"


def test_without_a_list_the_client_says_what_is_missing(place: Place) -> None:
    found = CertificateTable.parse(place.machine.table)
    place.machine.table = table({VCEK: found.vcek, ASK: found.intermediate})
    with client_case.live(place.source()) as server:
        with pytest.raises(PolicyViolation) as refusal:
            connect(server.target, trust())
        assert [finding.code for finding in refusal.value.findings] == ["crl_missing"]


def test_hardware_is_not_what_a_simulated_trust_file_expects(
    place: Place, simulated_root: SimulatedRoot
) -> None:
    with client_case.live(place.source()) as server:
        with pytest.raises(PolicyViolation) as refusal:
            connect(server.target, client_case.trust(simulated_root))
        assert "platform" in {finding.code for finding in refusal.value.findings}


def test_another_root_is_no_hardware_at_all(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    source = place.source()
    monkeypatch.undo()  # AMD's again
    with client_case.live(source) as server:
        with pytest.raises(EvidenceError) as refusal:
            connect(server.target, trust())
        assert refusal.value.code in ("authority", "untrusted_root")
