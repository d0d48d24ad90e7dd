"""Asks a server for fresh evidence, to be kept: nothing is sent but a nonce.

With a trust file this is the verification that `connect` makes, and evidence that fails it is not
handed out. Without one, whatever the server claims is handed out unjudged, for somebody to judge.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime

import grpc
from google.protobuf.message import DecodeError

from sealserve.attestation import Evidence, decode, read_certificate
from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.clock import Deadline, now
from sealserve.inference.client.refused import no_evidence_from
from sealserve.inference.client.session import challenged
from sealserve.inference.client.targets import Address
from sealserve.inference.client.verification import Verification
from sealserve.inference.wire import names
from sealserve.inference.wire.address import parse_address
from sealserve.inference.wire.attestation_pb2 import GetEvidenceRequest, GetEvidenceResponse
from sealserve.native.errors import EvidenceError
from sealserve.policy import Trust, Verdict


@dataclass(frozen=True, slots=True)
class Collected:
    """What a server answered. verdict: None if nobody judged it.

    encoded: the evidence as it came; evidence: the same, taken apart. certificate: of the server
    (DER), whose key the runtime claims name. nonce: ours, which they name too.
    """

    address: str
    at: datetime
    certificate: bytes
    nonce: bytes
    encoded: bytes
    evidence: Evidence
    verdict: Verdict | None


def collect(
    target: str,
    trust: Trust | None,
    *,
    timeout_seconds: float = 10.0,
    certificate: Certificate | None = None,
) -> Collected:
    """Evidence of this moment. target: `HOST` or `HOST:PORT`.

    Raises UnavailableError, ConfigError (an address that is none, a server that wants a client's
    certificate and is given none), EvidenceError for what is no evidence of ours; with a trust file
    all that `connect` raises.
    """
    address = Address(*parse_address(target, default_port=names.DEFAULT_PORT))
    deadline = Deadline(timeout_seconds)
    visit = _Visit(None if trust is None else Verification(trust))
    try:
        answer, _ = challenged(visit, address, deadline, certificate)
    except grpc.RpcError as error:
        raise no_evidence_from(address, error, certificate, deadline) from error
    at = now()
    verdict = None if visit.verification is None else visit.verification.accept(answer, at).verdict
    encoded = _evidence(answer)
    return Collected(
        address=str(address),
        at=at,
        certificate=visit.certificate,
        nonce=visit.nonce,
        encoded=encoded,
        evidence=decode(encoded),
        verdict=verdict,
    )


class _Visit:
    """The steps of a verification, or of none, and what was shown and asked in them."""

    def __init__(self, verification: Verification | None) -> None:
        self.verification = verification
        self.certificate = b""
        self.nonce = b""

    def read_certificate(self, der: bytes, now: datetime) -> None:
        """The profile holds in any case: what may sign is not pinned."""
        if self.verification is None:
            read_certificate(der, now)
        else:
            self.verification.read_certificate(der, now)
        self.certificate = der

    def challenge(self) -> bytes:
        if self.verification is None:
            self.nonce = os.urandom(names.NONCE_BYTES)
            return GetEvidenceRequest(nonce=self.nonce).SerializeToString()
        request = self.verification.challenge()
        self.nonce = GetEvidenceRequest.FromString(request).nonce
        return request


def _evidence(answer: bytes) -> bytes:
    try:
        return GetEvidenceResponse.FromString(answer).evidence
    except DecodeError as error:
        raise EvidenceError(
            "evidence_malformed", "the answer to our challenge cannot be read"
        ) from error
