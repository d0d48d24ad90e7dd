"""A server that nobody has expectations of: genuine, fresh and its channel's own, or an error."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from sealserve.attestation import Roots
from sealserve.attestation.simulated import FAULTS, SimulatedRoot
from sealserve.inference.client.introduction import introduce
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.wire import names
from sealserve.native.errors import ConfigError, EvidenceError, UnavailableError
from support import client_case as case
from support.attestation_simulated import FAULTS_OF_MILAN
from support.client_server import LiveServer
from support.ports import free_port


def roots_of(root: SimulatedRoot) -> Roots:
    return Roots.simulated(root.ark_sha256)


def test_a_genuine_server_tells_what_it_is(simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root)) as server:
        introduced = introduce(server.target, roots_of(simulated_root))
        assert introduced.roots == {case.ROOT}
        assert introduced.claims.report.host_data == case.POLICY
        assert introduced.claims.chip_id.hex() == case.chip(simulated_root)
        assert {method for method, _ in server.record.calls} == {names.GET_EVIDENCE}


@pytest.mark.parametrize("fault", [name for name in FAULTS_OF_MILAN if not FAULTS[name].code])
def test_what_is_genuine_is_told_and_not_judged(simulated_root: SimulatedRoot, fault: str) -> None:
    with case.live(case.machine(simulated_root, fault)) as server:
        assert introduce(server.target, roots_of(simulated_root)).roots == {case.ROOT}


NOT_GENUINE = ["other-key", "hwid", "snp-level", "revoked", "other-claims", "root"]


@pytest.mark.parametrize("fault", NOT_GENUINE)
def test_what_is_not_genuine_is_refused(simulated_root: SimulatedRoot, fault: str) -> None:
    with case.live(case.machine(simulated_root, fault)) as server:
        refused(server, simulated_root, FAULTS[fault].code)


LIES: dict[str, Callable[[SimulatedRoot], dict[str, Any]]] = {
    "challenge_nonce": lambda _: {"nonces": (bytes(32),)},
    "challenge_key": lambda _: {"spki": bytes(32)},
    "challenge_next": lambda _: {"next": bytes(32)},
    "challenge_next_key": lambda root: {
        "next_certificate": TlsIdentity(case.machine(root)).certificates.next
    },
}


@pytest.mark.parametrize("code", LIES)
def test_an_answer_that_is_not_this_channels_is_refused(
    simulated_root: SimulatedRoot, code: str
) -> None:
    source = case.machine(simulated_root)
    owner = TlsIdentity(source)
    answer = case.answers(source, owner, **LIES[code](simulated_root))
    with case.live(source, identity=owner, answer=answer) as server:
        refused(server, simulated_root, code)


def test_a_certificate_with_anothers_evidence_is_refused(simulated_root: SimulatedRoot) -> None:
    source = case.machine(simulated_root)

    def stolen(parts: case.Parts) -> None:
        parts.evidence = case.tls_evidence(source, case.new_key())

    with case.live(source, identity=case.identity(source, stolen)) as server:
        refused(server, simulated_root, "certificate_binding")


def test_only_the_root_that_was_handed_over_counts(simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root)) as server:
        refused(server, SimulatedRoot.create(datetime.now(UTC)), "untrusted_root")
        with pytest.raises(EvidenceError) as caught:
            introduce(server.target, Roots.amd())
        assert caught.value.code == "untrusted_root"


def test_nobody_there(simulated_root: SimulatedRoot) -> None:
    with pytest.raises(UnavailableError):
        introduce(f"127.0.0.1:{free_port()}", roots_of(simulated_root))
    with pytest.raises(ConfigError, match="is no address"):
        introduce("https://localhost", roots_of(simulated_root))


def test_a_server_that_does_not_answer(simulated_root: SimulatedRoot) -> None:
    def fail(asked: frozenset[bytes]) -> Any:
        raise UnavailableError("not now")

    with (
        case.live(case.machine(simulated_root), answer=fail) as server,
        pytest.raises(UnavailableError, match="no evidence from the server"),
    ):
        introduce(server.target, roots_of(simulated_root))


def refused(server: LiveServer, root: SimulatedRoot, code: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        introduce(server.target, roots_of(root))
    assert caught.value.code == code
