"""One replica that was verified, for threads: pinned connections to it, and how they come to be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import grpc

from sealserve.inference.client import channel
from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.clock import MAX_EVIDENCE_AGE_SECONDS, Deadline, elapsed, now
from sealserve.inference.client.fetch import fetch_certificate
from sealserve.inference.client.prediction import (
    metadata_request,
    read_metadata,
    require_root,
    root_metadata,
)
from sealserve.inference.client.refused import no_evidence_from
from sealserve.inference.client.served import Probe, Told, root_of, unknown_model
from sealserve.inference.client.status import no_evidence, nobody_answered
from sealserve.inference.client.targets import Address
from sealserve.inference.client.terms import Terms
from sealserve.inference.client.uses import Uses
from sealserve.inference.client.verification import Verification, Verified
from sealserve.inference.wire import names
from sealserve.inference.wire.spec import ModelMetadata

ModelKey = tuple[str, str, bytes]  # name, version asked for, root


@dataclass(frozen=True)
class Session:
    """Channels to a server that was verified. Each is a connection, and so one of its workers.

    Calls take them in turn. asked_at: when the nonce was made.
    """

    channels: tuple[grpc.Channel, ...]
    verified: Verified
    asked_at: float
    terms: Terms
    metadata: dict[ModelKey, ModelMetadata] = field(default_factory=dict)
    uses: Uses = field(default_factory=Uses)
    turns: Iterator[int] = field(default_factory=itertools.count)

    @property
    def is_old(self) -> bool:
        """Whether the server has to prove itself again before more data goes to it."""
        return elapsed() - self.asked_at > MAX_EVIDENCE_AGE_SECONDS

    @property
    def channel(self) -> grpc.Channel:
        """The one whose turn it is."""
        return self.channels[next(self.turns) % len(self.channels)]

    def call(self, path: str, request: bytes, root: bytes, deadline: Deadline) -> bytes:
        """One call about the model with this root; grpc.RpcError if it fails."""
        method = self.channel.unary_unary(path)
        answer, call = method.with_call(
            request,
            timeout=deadline.left(),
            metadata=(*root_metadata(root), *self.terms.authorization),
        )
        require_root(call.trailing_metadata(), root, path)
        return bytes(answer)

    def stream(self, path: str, requests: Iterator[bytes], seconds: float | None) -> grpc.Call:
        """A stream that may ask every model which is accepted and served here.

        Whoever reads it to its end asks `require_roots_among` about `roots` then.
        """
        roots = (pair for root in self.roots for pair in root_metadata(root))
        metadata = (*roots, *self.terms.authorization)
        return self.channel.stream_stream(path)(requests, timeout=seconds, metadata=metadata)

    @property
    def roots(self) -> frozenset[bytes]:
        """Of the models that are accepted and served here."""
        return self.verified.accepted_roots(self.terms.trust)

    def about(self, model: str, version: str, root: bytes, deadline: Deadline) -> ModelMetadata:
        """What this server tells of a model, asked for once."""
        key = (model, version, root)
        if key not in self.metadata:
            request = metadata_request(model, version)
            answer = self.call(names.MODEL_METADATA, request, root, deadline)
            self.metadata[key] = read_metadata(answer, model)
        return self.metadata[key]

    def told(self, probe: Probe, deadline: Deadline) -> Told | None:
        """What the server has under this name and version, if anything."""
        model, version, root = probe
        try:
            return root, self.about(model, version, root, deadline)
        except grpc.RpcError as error:
            if unknown_model(error):
                return None
            other = root_of(error, self.verified)
        return other, self.about(model, version, other, deadline)

    def close(self) -> None:
        """Calls under way end."""
        for one in self.channels:
            one.close()


def open_session(address: Address, terms: Terms, deadline: Deadline) -> Session:
    """Verify whoever is there; after a handshake that failed, once more from the beginning."""
    try:
        return _attest(address, terms, deadline)
    except grpc.RpcError as error:
        if not nobody_answered(error):
            raise no_evidence(error) from error
    try:
        return _attest(address, terms, deadline)
    except grpc.RpcError as error:
        raise no_evidence_from(address, error, terms.certificate, deadline) from error


def _attest(address: Address, terms: Terms, deadline: Deadline) -> Session:
    """The whole verification; grpc.RpcError if the challenge was not answered."""
    verification = Verification(terms.trust)
    answer, asked_at = challenged(verification, address, deadline, terms.certificate)
    verified = verification.accept(answer, now())
    channels = tuple(
        channel.pinned(
            *address, channel.ANSWER_BYTES, *verified.certificates, own=terms.certificate
        )
        for _ in range(terms.connections)
    )
    return Session(channels, verified, asked_at, terms)


class Challenger(Protocol):
    """Steps 1 and 2 of a verification, whoever takes them."""

    def read_certificate(self, der: bytes, now: datetime) -> None: ...
    def challenge(self) -> bytes: ...


def challenged(
    steps: Challenger, address: Address, deadline: Deadline, own: Certificate | None
) -> tuple[bytes, float]:
    """Steps 1 and 2: the answer to the challenge, and when that was made. own: the client's."""
    certificate = fetch_certificate(*address, deadline)
    steps.read_certificate(certificate, now())
    with channel.pinned(*address, channel.EVIDENCE_BYTES, certificate, own=own) as opened:
        asked_at = elapsed()
        ask = opened.unary_unary(names.GET_EVIDENCE)
        return ask(steps.challenge(), timeout=deadline.left()), asked_at
