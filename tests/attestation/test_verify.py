"""The verifier: good machines pass, and each fault is refused by exactly its check."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sealserve.attestation import Evidence, Roots, Tcb, verify
from sealserve.attestation.roots import ARK_SHA256, SIMULATED_ORGANIZATION
from sealserve.attestation.simulated import MEASUREMENT, SimulatedRoot, issue
from sealserve.errors import EvidenceError
from support.attestation_simulated import CLAIMS, HOST_DATA, evidence_of

NOW = datetime.now(UTC)


def test_a_good_machine(simulated_root: SimulatedRoot, simulated_roots: Roots) -> None:
    claims = verify(evidence_of(simulated_root), simulated_roots, NOW)
    assert claims.platform == "simulated"
    assert claims.line == "milan"
    assert claims.signing_key == "vcek"
    assert claims.csp_id is None
    assert claims.endorsement is None
    assert claims.runtime == CLAIMS
    assert claims.report.host_data == HOST_DATA
    assert claims.report.measurement == MEASUREMENT
    assert claims.report.version == 3
    assert not claims.report.policy.debug
    assert claims.reported_tcb == claims.committed_tcb == claims.current_tcb == claims.launch_tcb
    assert claims.reported_tcb == Tcb(bootloader=4, tee=0, snp=24, microcode=219)
    assert len(claims.chip_id) == 64
    assert claims.crl_this_update is not None
    assert timedelta(0) < NOW - claims.crl_this_update < timedelta(days=2)


def test_a_simulated_machine_is_not_amds(simulated_root: SimulatedRoot) -> None:
    with pytest.raises(EvidenceError) as refusal:
        verify(evidence_of(simulated_root), Roots.amd(), NOW)
    assert refusal.value.code == "untrusted_root"
    assert refusal.value.seen == simulated_root.ark_sha256.hex()


def test_a_simulated_chain_without_its_root(
    simulated_root: SimulatedRoot, simulated_roots: Roots
) -> None:
    evidence = replace(evidence_of(simulated_root), root=None)
    for roots in (Roots.amd(), simulated_roots):
        with pytest.raises(EvidenceError) as refusal:
            verify(evidence, roots, NOW)
        assert refusal.value.code == "untrusted_root"


def test_without_a_list_the_claims_say_so(
    simulated_root: SimulatedRoot, simulated_roots: Roots
) -> None:
    claims = verify(evidence_of(simulated_root, "no-crl"), simulated_roots, NOW)
    assert claims.crl_this_update is None


def test_now_needs_a_time_zone(simulated_root: SimulatedRoot, simulated_roots: Roots) -> None:
    with pytest.raises(ValueError, match="time zone"):
        verify(evidence_of(simulated_root), simulated_roots, datetime(2026, 1, 1))


def test_roots_never_mix() -> None:
    with pytest.raises(ValueError, match="AMD"):
        Roots.simulated(bytes.fromhex(ARK_SHA256["milan"]))
    with pytest.raises(ValueError, match="32"):
        Roots.simulated(b"short")


# Below: roots no machine presents, because a root is believed for its digest alone.


def _with_root(evidence: Evidence, root: bytes) -> tuple[Evidence, Roots]:
    return replace(evidence, root=root), Roots.simulated(hashlib.sha256(root).digest())


def _root(simulated: SimulatedRoot, **changed: object) -> bytes:
    key = simulated.ark_key.public_key()
    fields: dict[str, object] = {
        "serial": issue.ARK_SERIAL["milan"],
        "issuer": issue.name(issue.ark_name("milan")),
        "subject": issue.name(issue.ark_name("milan")),
        "window": (NOW - timedelta(days=1), NOW + timedelta(days=1)),
        "key": key,
        "extensions": issue.ark_extensions(key),
        "signer": simulated.ark_key,
    }
    return issue.certificate(**{**fields, **changed})  # type: ignore[arg-type]


ROOTS: dict[str, tuple[str, Callable[[SimulatedRoot], bytes]]] = {
    "signed by another key": (
        "root_signature",
        lambda root: _root(root, signer=root.ask_key),
    ),
    "issued by somebody else": (
        "chain_names",
        lambda root: _root(root, issuer=issue.name("ARK-Genoa")),
    ),
    "with another name": (
        "chain_names",
        lambda root: _root(root, issuer=issue.name("ARK-Genoa"), subject=issue.name("ARK-Genoa")),
    ),
    "no CA": (
        "not_a_ca",
        lambda root: _root(
            root,
            extensions=issue.intermediate_extensions(
                root.ark_key.public_key(), bytes(20), is_ca=False
            ),
        ),
    ),
    "without key usage": (
        "not_a_ca",
        lambda root: _root(root, extensions=issue.ark_extensions(root.ark_key.public_key())[1:]),
    ),
    "without constraints": (
        "not_a_ca",
        lambda root: _root(root, extensions=issue.ark_extensions(root.ark_key.public_key())[:2]),
    ),
    "expired": (
        "root_expired",
        lambda root: _root(root, window=(NOW - timedelta(days=9), NOW - timedelta(days=8))),
    ),
    "not valid yet": (
        "root_early",
        lambda root: _root(root, window=(NOW + timedelta(days=8), NOW + timedelta(days=9))),
    ),
}


@pytest.mark.parametrize("name", ROOTS)
def test_even_an_expected_root_must_be_in_order(name: str, simulated_root: SimulatedRoot) -> None:
    code, make = ROOTS[name]
    evidence, roots = _with_root(evidence_of(simulated_root), make(simulated_root))
    with pytest.raises(EvidenceError) as refusal:
        verify(evidence, roots, NOW)
    assert refusal.value.code == code


def test_a_remade_root_in_order_passes(simulated_root: SimulatedRoot) -> None:
    evidence, roots = _with_root(evidence_of(simulated_root), _root(simulated_root))
    verify(evidence, roots, NOW)


def test_the_whole_chain_must_say_simulated(simulated_root: SimulatedRoot) -> None:
    """A root that calls itself AMD is refused as a simulated one, whoever expects it."""
    assert "not AMD" in SIMULATED_ORGANIZATION
    name = issue.name(issue.ark_name("milan"), "Advanced Micro Devices")
    root = _root(simulated_root, issuer=name, subject=name)
    ask = issue.certificate(
        serial=issue.ASK_SERIAL["milan"],
        issuer=name,
        subject=issue.name(issue.intermediate_name("milan", "vcek")),
        window=(NOW - timedelta(days=1), NOW + timedelta(days=1)),
        key=simulated_root.ask_key.public_key(),
        extensions=issue.intermediate_extensions(simulated_root.ask_key.public_key(), bytes(20)),
        signer=simulated_root.ark_key,
    )
    evidence, roots = _with_root(replace(evidence_of(simulated_root), intermediate=ask), root)
    with pytest.raises(EvidenceError) as refusal:
        verify(evidence, roots, NOW)
    assert refusal.value.code == "authority"


def test_messages_carry_both_sides(simulated_root: SimulatedRoot, simulated_roots: Roots) -> None:
    with pytest.raises(EvidenceError, match=r"snp level in the leaf: seen 25; wanted 24"):
        verify(evidence_of(simulated_root, "snp-level"), simulated_roots, NOW)
