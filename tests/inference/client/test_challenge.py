"""A peer that is not verified yet: what it may make a client read, and what its words mean."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from sealserve.attestation.evidence import MAX_EVIDENCE_BYTES
from sealserve.attestation.ratls import MAX_CERTIFICATE_BYTES
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import connect, connect_async
from sealserve.inference.server.challenge import Answer
from sealserve.inference.wire import names
from sealserve.native.errors import (
    ConfigError,
    EvidenceError,
    SealserveError,
    UnavailableError,
)
from support import client_case as case
from support.client_server import LiveServer, Relay, Rewrite, eventually, failing

FEW_BYTES = 16 * 2**20  # what fits into windows and buffers on the way
MANY_BYTES = 128 * 2**20
Code = grpc.StatusCode


def refused(server: LiveServer, simulated_root: SimulatedRoot) -> tuple[SealserveError, int]:
    """Why there is no client, and how many bytes the server got across before that."""
    with Relay(server.port) as relay:
        with pytest.raises(SealserveError) as caught:
            connect(relay.target, case.trust(simulated_root))
        eventually(lambda: relay.open == 0)
        return caught.value, relay.bytes_down


def answering(simulated_root: SimulatedRoot, rewrite: Rewrite, **options: Any) -> LiveServer:
    """A good server but for its answers to challenges."""
    rewrites = {names.GET_EVIDENCE: rewrite}
    return case.live(case.machine(simulated_root), rewrites=rewrites, **options)


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "gzip"])
def test_an_endless_answer_is_not_read(
    simulated_root: SimulatedRoot, compression: grpc.Compression | None
) -> None:
    with answering(
        simulated_root, lambda data, _: data + bytes(MANY_BYTES), compression=compression
    ) as server:
        error, bytes_down = refused(server, simulated_root)
    assert isinstance(error, EvidenceError)
    assert error.code == "evidence_size"
    assert bytes_down < FEW_BYTES


def test_the_longest_answer_there_can_be_is_read(simulated_root: SimulatedRoot) -> None:
    longest = Answer(bytes(MAX_EVIDENCE_BYTES), bytes(MAX_CERTIFICATE_BYTES))
    with case.live(case.machine(simulated_root), answer=lambda _: longest) as server:
        error, _ = refused(server, simulated_root)
    assert isinstance(error, EvidenceError)
    assert error.code == "evidence_malformed"


def test_an_answer_that_is_no_message(simulated_root: SimulatedRoot) -> None:
    with answering(simulated_root, lambda data, _: b"\xff") as server:
        error, _ = refused(server, simulated_root)
    assert isinstance(error, EvidenceError)
    assert error.code == "evidence_malformed"


STATUSES = {
    Code.UNAVAILABLE: UnavailableError,
    Code.RESOURCE_EXHAUSTED: UnavailableError,
    Code.INTERNAL: UnavailableError,
    Code.UNAUTHENTICATED: ConfigError,
    # whoever gives no evidence is not genuine, and no input of the caller's was wrong
    Code.UNIMPLEMENTED: EvidenceError,
    Code.NOT_FOUND: EvidenceError,
    Code.INVALID_ARGUMENT: EvidenceError,
    Code.FAILED_PRECONDITION: EvidenceError,
    Code.DATA_LOSS: EvidenceError,
}


@pytest.mark.parametrize("code", STATUSES, ids=lambda code: code.name)
def test_a_challenge_that_is_not_answered(
    simulated_root: SimulatedRoot, code: grpc.StatusCode
) -> None:
    with answering(simulated_root, failing(code, times=9, pushback="1500")) as server:
        error, _ = refused(server, simulated_root)
        assert server.record.count(names.GET_EVIDENCE) == 1
    assert type(error) is STATUSES[code]
    assert "no evidence from the server" in error.message
    if isinstance(error, UnavailableError):
        assert error.retry_after_seconds == 1.5


def test_words_of_a_server_cannot_move_a_cursor(simulated_root: SimulatedRoot) -> None:
    rewrite = failing(Code.INTERNAL, times=9, words="\x1b[2J\u202egood")
    with answering(simulated_root, rewrite) as server:
        error, _ = refused(server, simulated_root)
    assert r"\x1b[2J\u202egood" in error.message


def test_the_server_changes_between_certificate_and_challenge(
    simulated_root: SimulatedRoot,
) -> None:
    """A handshake that fails leads to a whole new attestation, of whoever is there now."""
    source = case.machine(simulated_root)
    with case.live(source) as first, case.live(source) as second:

        def route(connection: int) -> int:
            return first.port if connection == 0 else second.port

        with Relay(route) as relay, connect(relay.target, case.trust(simulated_root)):
            assert first.record.calls == []
            assert second.record.count(names.GET_EVIDENCE) == 1


def test_the_asyncio_client_does_the_same(simulated_root: SimulatedRoot) -> None:
    async def ask(target: str) -> None:
        await connect_async(target, case.trust(simulated_root))

    for rewrite, wanted in (
        (lambda data, _: data + bytes(MANY_BYTES), "evidence_size"),
        (lambda data, _: b"\xff", "evidence_malformed"),
        (failing(Code.UNIMPLEMENTED, times=1), "evidence_refused"),
    ):
        with answering(simulated_root, rewrite) as server:
            with pytest.raises(EvidenceError) as caught:
                asyncio.run(ask(server.target))
            assert caught.value.code == wanted
