"""The sequence that decides, without a socket; how time is counted; who closes a channel."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.known_models import roots_for
from sealserve.inference.client.uses import Uses
from sealserve.inference.client.verification import Verification, Verified
from sealserve.inference.server.identity import TlsIdentity
from sealserve.inference.wire.attestation_pb2 import GetEvidenceRequest, GetEvidenceResponse
from sealserve.native.errors import EvidenceError, PolicyViolation, UnavailableError
from support import client_case as case
from support.client_server import CONFIG, MODEL

NONCE = bytes(range(32))


class Peer:
    """A good server's certificate and answer, and a verification of it with a known nonce."""

    def __init__(self, root: SimulatedRoot) -> None:
        source = case.machine(root)
        self.owner = TlsIdentity(source)
        self.verification = Verification(case.trust(root), random=lambda size: NONCE[:size])
        self._answer = case.answers(source, self.owner)

    def read(self) -> None:
        self.verification.read_certificate(self.owner.certificates.current, datetime.now(UTC))

    def accept(self, nonce: bytes = NONCE) -> Verified:
        answer = self._answer(frozenset({nonce}))
        message = GetEvidenceResponse(
            evidence=answer.evidence, next_certificate=answer.next_certificate
        )
        return self.verification.accept(message.SerializeToString(), datetime.now(UTC))


@pytest.fixture
def peer(simulated_root: SimulatedRoot) -> Peer:
    return Peer(simulated_root)


def test_three_steps_lead_to_a_verified_server(peer: Peer) -> None:
    peer.read()
    asked = GetEvidenceRequest.FromString(peer.verification.challenge())
    assert asked.nonce == NONCE
    verified = peer.accept()
    certificates = peer.owner.certificates
    assert verified.certificates == (certificates.current, certificates.next)
    assert verified.roots == {case.ROOT}
    assert verified.config == CONFIG
    assert "the evidence answers our nonce" in verified.verdict.checked


def test_no_step_comes_before_its_turn(peer: Peer) -> None:
    with pytest.raises(RuntimeError, match="follows the certificate"):
        peer.verification.challenge()
    with pytest.raises(RuntimeError, match="follows a challenge"):
        peer.accept()
    peer.read()
    with pytest.raises(RuntimeError, match="follows a challenge"):
        peer.accept()


def test_no_step_comes_twice(peer: Peer) -> None:
    peer.read()
    with pytest.raises(RuntimeError, match="already"):
        peer.read()
    peer.verification.challenge()
    with pytest.raises(RuntimeError, match="once"):
        peer.verification.challenge()
    peer.accept()
    with pytest.raises(RuntimeError, match="follows a challenge"):
        peer.accept()


def test_an_answer_that_was_refused_cannot_be_mended(peer: Peer) -> None:
    peer.read()
    peer.verification.challenge()
    with pytest.raises(EvidenceError):
        peer.accept(nonce=bytes(32))
    with pytest.raises(RuntimeError, match="follows a challenge"):
        peer.accept()


def test_roots_come_in_the_order_of_the_file(peer: Peer, simulated_root: SimulatedRoot) -> None:
    peer.read()
    peer.verification.challenge()
    verified = peer.accept()
    both = (f'["{case.ROOT.hex()}"]', f'["{case.OTHER.hex()}", "{case.ROOT.hex()}"]')
    trust = case.trust(simulated_root, both)
    assert roots_for(trust, verified, MODEL) == (case.ROOT,)
    assert verified.accepted(trust) == {MODEL: (case.ROOT,)}
    with pytest.raises(PolicyViolation):
        roots_for(case.trust(simulated_root, (case.ROOT.hex(), "aa" * 32)), verified, MODEL)


# ---- time


@pytest.mark.parametrize("seconds", [0, -1, math.nan, -math.inf])
def test_a_time_that_is_none_is_misuse(seconds: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Deadline(seconds)


def test_no_limit_is_a_limit_that_every_clock_can_hold() -> None:
    left = Deadline(math.inf).left()
    assert 3600 < left < 2**31


def test_a_deadline_that_passed() -> None:
    deadline = Deadline(1e-9)
    assert not deadline.allows(0)
    with pytest.raises(UnavailableError, match="not done within"):
        deadline.left()
    assert Deadline(60).allows(1)
    assert not Deadline(60).allows(math.inf)


# ---- who uses a channel


def test_a_channel_is_closed_by_whoever_is_last() -> None:
    uses = Uses()
    assert uses.begin()
    assert uses.begin()
    assert not uses.end()
    assert not uses.retire()
    assert not uses.begin()
    assert uses.end()


def test_a_channel_nobody_uses_is_closed_at_once() -> None:
    uses = Uses()
    assert uses.begin()
    assert not uses.end()
    assert uses.retire()
