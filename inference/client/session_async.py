"""One replica that was verified, for asyncio: as the one for threads, with `await`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import grpc

from sealserve.inference.client import channel
from sealserve.inference.client.apart import apart
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
from sealserve.inference.client.session import ModelKey
from sealserve.inference.client.status import no_evidence, nobody_answered
from sealserve.inference.client.targets import Address
from sealserve.inference.client.terms import Terms
from sealserve.inference.client.uses import Uses
from sealserve.inference.client.verification import Verification, Verified
from sealserve.inference.wire import names
from sealserve.inference.wire.spec import ModelMetadata
from sealserve.native.errors import UnavailableError


@dataclass(frozen=True)
class AsyncSession:
    """Channels to a server that was verified. Each is a connection, and so one of its workers.

    Calls take them in turn. asked_at: when the nonce was made.
    """

    channels: tuple[grpc.aio.Channel, ...]
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
    def channel(self) -> grpc.aio.Channel:
        """The one whose turn it is."""
        return self.channels[next(self.turns) % len(self.channels)]

    async def call(self, path: str, request: bytes, root: bytes, deadline: Deadline) -> bytes:
        """One call about the model with this root; grpc.RpcError if it fails."""
        method = self.channel.unary_unary(path)
        call = method(
            request,
            timeout=deadline.left(),
            metadata=(*root_metadata(root), *self.terms.authorization),
        )
        try:
            answer = await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # gRPC cancels the calls of a channel that is closed; nobody cancelled this task.
            raise UnavailableError("the client was closed during this call") from None
        require_root(list(await call.trailing_metadata() or ()), root, path)
        return bytes(answer)

    def stream(self, path: str, seconds: float | None) -> grpc.aio.StreamStreamCall:
        """A stream that may ask every model which is accepted and served here.

        Whoever reads it to its end asks `require_roots_among` about `roots` then.
        """
        roots = (pair for root in self.roots for pair in root_metadata(root))
        metadata = (*roots, *self.terms.authorization)
        return self.channel.stream_stream(path)(timeout=seconds, metadata=metadata)

    @property
    def roots(self) -> frozenset[bytes]:
        """Of the models that are accepted and served here."""
        return self.verified.accepted_roots(self.terms.trust)

    async def about(
        self, model: str, version: str, root: bytes, deadline: Deadline
    ) -> ModelMetadata:
        """What this server tells of a model, asked for once."""
        key = (model, version, root)
        if key not in self.metadata:
            request = metadata_request(model, version)
            answer = await self.call(names.MODEL_METADATA, request, root, deadline)
            self.metadata[key] = read_metadata(answer, model)
        return self.metadata[key]

    async def told(self, probe: Probe, deadline: Deadline) -> Told | None:
        """What the server has under this name and version, if anything."""
        model, version, root = probe
        try:
            return root, await self.about(model, version, root, deadline)
        except grpc.RpcError as error:
            if unknown_model(error):
                return None
            other = root_of(error, self.verified)
        return other, await self.about(model, version, other, deadline)

    async def close(self) -> None:
        """Calls under way end."""
        for one in self.channels:
            await one.close()


async def open_session(address: Address, terms: Terms, deadline: Deadline) -> AsyncSession:
    """Verify whoever is there; after a handshake that failed, once more from the beginning."""
    try:
        return await _attest(address, terms, deadline)
    except grpc.RpcError as error:
        if not nobody_answered(error):
            raise no_evidence(error) from error
    try:
        return await _attest(address, terms, deadline)
    except grpc.RpcError as error:
        asked = partial(no_evidence_from, address, error, terms.certificate, deadline)
        raise await apart(asked) from error


async def _attest(address: Address, terms: Terms, deadline: Deadline) -> AsyncSession:
    """The whole verification; grpc.RpcError if the challenge was not answered."""
    verification = Verification(terms.trust)
    certificate = await apart(partial(fetch_certificate, *address, deadline))
    await asyncio.to_thread(verification.read_certificate, certificate, now())
    async with _pinned(address, channel.EVIDENCE_BYTES, terms.certificate, certificate) as opened:
        asked_at = elapsed()
        ask = opened.unary_unary(names.GET_EVIDENCE)
        answer = await ask(verification.challenge(), timeout=deadline.left())
    verified = await asyncio.to_thread(verification.accept, answer, now())
    channels = tuple(
        _pinned(address, channel.ANSWER_BYTES, terms.certificate, *verified.certificates)
        for _ in range(terms.connections)
    )
    return AsyncSession(channels, verified, asked_at, terms)


def _pinned(
    address: Address, answer_bytes: int, own: Certificate | None, *certificates: bytes
) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(
        channel.target(*address),
        channel.credentials(*certificates, own=own),
        channel.options(answer_bytes),
    )
