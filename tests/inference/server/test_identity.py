"""One TLS key that never leaves memory, and two certificates that take turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sealserve.attestation import TlsClaims, read_certificate, verify
from sealserve.attestation.certificate_table import CertificateTable
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.simulated import MEASUREMENT, Machine, SimulatedRoot
from sealserve.inference.server.config_file import BOUNDS
from sealserve.inference.server.identity import TlsIdentity
from sealserve.native.errors import UnavailableError
from support.attestation_hardware import own_place
from support.attestation_simulated import machine_of
from support.attestation_uvm import good


def now() -> datetime:
    return datetime.now(UTC)


class Moody:
    """A machine that can fall silent."""

    platform = "simulated"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.silent = False

    def evidence(self, claims: bytes) -> Evidence:
        if self.silent:
            raise UnavailableError("the platform does not answer")
        return self._machine.evidence(claims)


@pytest.fixture
def source(simulated_root: SimulatedRoot) -> Moody:
    return Moody(machine_of(simulated_root))


def test_both_certificates_have_the_profile_the_key_and_evidence_for_it(source: Moody) -> None:
    identity = TlsIdentity(source)
    for der in (identity.certificates.current, identity.certificates.next):
        certificate = read_certificate(der, now())
        assert certificate.spki_sha256 == identity.spki_sha256
        assert TlsClaims.parse(certificate.evidence.claims).spki == identity.spki_sha256
    assert identity.certificates.current != identity.certificates.next


def test_the_next_one_takes_over_and_a_new_one_follows(source: Moody) -> None:
    identity = TlsIdentity(source)
    before, spki = identity.certificates, identity.spki_sha256
    identity.rotate()
    after = identity.certificates
    assert after.current == before.next
    assert after.next not in (before.current, before.next)
    assert read_certificate(after.next, now()).spki_sha256 == identity.spki_sha256 == spki


def test_each_certificate_has_a_report_of_its_own(source: Moody) -> None:
    certificates = TlsIdentity(source).certificates
    current, following = (
        read_certificate(der, now()).evidence for der in (certificates.current, certificates.next)
    )
    assert current.report != following.report


def test_a_silent_platform_leaves_the_certificates_as_they_are(source: Moody) -> None:
    identity = TlsIdentity(source)
    before = identity.certificates
    source.silent = True
    with pytest.raises(UnavailableError):
        identity.rotate()
    assert identity.certificates == before


def test_a_certificate_of_hardware_needs_no_network_but_the_server(
    simulated_root: SimulatedRoot,
) -> None:
    """It brings the chain, the list and the endorsement, and verifies as it stands."""
    place = own_place(simulated_root)
    table = CertificateTable.parse(place.machine.table)
    endorsement = good().form_b(payload=MEASUREMENT)
    hardware = place.source(endorsement=endorsement)
    hardware.prepare(lambda _why: None)
    identity = TlsIdentity(hardware)
    hardware.close()
    evidence = read_certificate(identity.certificates.current, now()).evidence
    assert (evidence.leaf, evidence.intermediate) == (table.vcek, table.intermediate)
    assert (evidence.crl, evidence.uvm_endorsement) == (table.crl, endorsement)
    claims = verify(evidence, place.roots, now())
    assert claims.endorsement is not None
    assert TlsClaims.parse(claims.runtime).spki == identity.spki_sha256
    assert claims.crl_this_update is not None


def test_two_identities_have_two_keys(source: Moody) -> None:
    assert TlsIdentity(source).spki_sha256 != TlsIdentity(source).spki_sha256


def test_the_key_is_p256_and_the_pem_is_the_certificate_in_use(source: Moody) -> None:
    identity = TlsIdentity(source)
    key = serialization.load_pem_private_key(identity.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert identity.certificate_pem.startswith(b"-----BEGIN CERTIFICATE-----")


def test_the_slowest_rotation_allowed_never_shows_an_expired_certificate(source: Moody) -> None:
    """A certificate is made one rotation before it is used and then used for another."""
    identity = TlsIdentity(source)
    slowest = timedelta(hours=BOUNDS["rotation_hours"][1])
    read_certificate(identity.certificates.next, now() + 2 * slowest)
