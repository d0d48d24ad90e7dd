"""The client for asyncio: as the one for threads, with `await`."""

from __future__ import annotations

import asyncio
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import grpc

from sealserve.inference.client import channel
from sealserve.inference.client.attempts import Attempts
from sealserve.inference.client.clock import MAX_EVIDENCE_AGE_SECONDS, Deadline, elapsed, now
from sealserve.inference.client.fetch import fetch_certificate
from sealserve.inference.client.inputs import Cast
from sealserve.inference.client.known_models import roots_for
from sealserve.inference.client.prediction import (
    Question,
    metadata_request,
    read_metadata,
    require_root,
    root_metadata,
)
from sealserve.inference.client.served import (
    Probe,
    Served,
    Told,
    root_of,
    survey,
    unknown_model,
)
from sealserve.inference.client.status import another_root, no_evidence, nobody_answered
from sealserve.inference.client.uses import Process, Uses
from sealserve.inference.client.verification import Verification, Verified
from sealserve.inference.wire import names
from sealserve.inference.wire.address import parse_address
from sealserve.inference.wire.spec import ModelMetadata
from sealserve.inference.wire.tensor import Array
from sealserve.native.errors import UnavailableError
from sealserve.policy import Trust, Verdict

_Result = TypeVar("_Result")
_ModelKey = tuple[str, str, bytes]  # name, version asked for, root


async def connect_async(target: str, trust: Trust, *, timeout_seconds: float = 10.0) -> AsyncClient:
    """Verify a server; returns a client of it for this event loop, or raises as `connect` does."""
    host, port = parse_address(target, default_port=names.DEFAULT_PORT)
    session = await _open(host, port, trust, Deadline(timeout_seconds))
    return AsyncClient(host, port, trust, session)


@dataclass(frozen=True)
class Session:
    """A channel to a server that was verified over it. asked_at: when its nonce was made."""

    channel: grpc.aio.Channel
    verified: Verified
    asked_at: float
    metadata: dict[_ModelKey, ModelMetadata] = field(default_factory=dict)
    uses: Uses = field(default_factory=Uses)

    @property
    def is_old(self) -> bool:
        """Whether the server has to prove itself again before more data goes to it."""
        return elapsed() - self.asked_at > MAX_EVIDENCE_AGE_SECONDS

    async def call(self, path: str, request: bytes, root: bytes, deadline: Deadline) -> bytes:
        """One call about the model with this root; grpc.RpcError if it fails."""
        method = self.channel.unary_unary(path)
        call = method(request, timeout=deadline.left(), metadata=root_metadata(root))
        try:
            answer = await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # gRPC cancels the calls of a channel that is closed; nobody cancelled this task.
            raise UnavailableError("the client was closed during this call") from None
        require_root(list(await call.trailing_metadata() or ()), root)
        return bytes(answer)


class AsyncClient:
    """A server that was verified, for one event loop. `Client` says what each method promises."""

    def __init__(self, host: str, port: int, trust: Trust, session: Session) -> None:
        self._host = host
        self._port = port
        self._trust = trust
        self._session: Session | None = session
        self._process = Process()
        self._verifying = asyncio.Lock()

    @property
    def verdict(self) -> Verdict:
        """What the last verification found."""
        return self._current().verified.verdict

    def models(self) -> dict[str, tuple[str, ...]]:
        """The models that the trust file accepts and this server serves: roots (hex) by name."""
        accepted = self._current().verified.accepted(self._trust)
        return {name: tuple(root.hex() for root in roots) for name, roots in accepted.items()}

    async def served(self, *, timeout_seconds: float = 10.0) -> Served:
        """Ask the server under which names and versions it has these models."""
        deadline = Deadline(timeout_seconds)

        async def ask(session: Session) -> Served:
            steps = survey(self._trust, session.verified)
            step = next(steps)
            while not isinstance(step, Served):
                step = steps.send(await _told(session, step, deadline))
            return step

        return await self._ask(ask, "what the server has", deadline)

    async def metadata(
        self, model: str, *, version: str = "", timeout_seconds: float = 10.0
    ) -> ModelMetadata:
        """Inputs and outputs of a model."""
        deadline = Deadline(timeout_seconds)

        async def ask(session: Session, root: bytes) -> ModelMetadata:
            return await _metadata(session, model, version, root, deadline)

        return await self._ask(self._on_root(model, ask), f"metadata of {model}", deadline)

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, object],
        *,
        version: str = "",
        outputs: Sequence[str] | None = None,
        timeout_seconds: float = 30.0,
        cast: Cast = "safe",
    ) -> dict[str, Array]:
        """Predict with a model that the trust file accepts; returns its outputs by name."""
        deadline = Deadline(timeout_seconds)

        async def ask(session: Session, root: bytes) -> dict[str, Array]:
            found = await _metadata(session, model, version, root, deadline)
            question = Question.of(found, inputs, version=version, outputs=outputs, cast=cast)
            try:
                answer = await session.call(names.MODEL_INFER, question.request, root, deadline)
            except grpc.RpcError as error:
                question.require_taken(error)
                raise
            return question.answer(answer)

        return await self._ask(self._on_root(model, ask), f"prediction by {model}", deadline)

    async def recheck(self, *, timeout_seconds: float = 10.0) -> Verdict:
        """Verify the server anew, with a new nonce."""
        session = await self._renew(self._current(), Deadline(timeout_seconds))
        return session.verified.verdict

    async def close(self) -> None:
        """Close the channel; calls under way end, and calls after it raise ValueError."""
        if not self._process.is_this():
            return
        session, self._session = self._session, None
        if session is not None:
            await session.channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ask(
        self, ask: Callable[[Session], Awaitable[_Result]], what: str, deadline: Deadline
    ) -> _Result:
        """Ask, and ask again where that may help: `Attempts` says when."""
        attempts = Attempts(what, deadline)
        gone: Session | None = None
        while True:
            async with self._lease(gone, deadline) as session:
                try:
                    return await ask(session)
                except grpc.RpcError as error:
                    again = attempts.after(error)
            gone = session if again.verify else None
            await sleep(again.wait_seconds)

    @asynccontextmanager
    async def _lease(self, gone: Session | None, deadline: Deadline) -> AsyncIterator[Session]:
        """The current session, which is not `gone` and not old; nobody closes it meanwhile."""
        session = self._current()
        while session is gone or session.is_old or not session.uses.begin():
            session = await self._renew(session, deadline)
        try:
            yield session
        finally:
            if session.uses.end():
                await session.channel.close()

    def _on_root(
        self, model: str, ask: Callable[[Session, bytes], Awaitable[_Result]]
    ) -> Callable[[Session], Awaitable[_Result]]:
        """Ask for each root that would do; the server says which of them this name means."""

        async def on_root(session: Session) -> _Result:
            *others, last = roots_for(self._trust, session.verified, model)
            for root in others:
                try:
                    return await ask(session, root)
                except grpc.RpcError as error:
                    if not another_root(error):
                        raise
            return await ask(session, last)

        return on_root

    async def _renew(self, used: Session, deadline: Deadline) -> Session:
        """The session that follows `used`, which another task may have made already."""
        try:
            async with asyncio.timeout(deadline.left()):
                await self._verifying.acquire()
        except TimeoutError:
            raise deadline.passed() from None
        try:
            session = self._current()
            if session is used:
                session = await _open(self._host, self._port, self._trust, deadline)
                await self._replace(used, session)
            return session
        finally:
            self._verifying.release()

    async def _replace(self, used: Session, fresh: Session) -> None:
        closed = self._session is None
        if not closed:
            self._session = fresh
        retired = fresh if closed else used
        if retired.uses.retire():
            await retired.channel.close()
        self._current()

    def _current(self) -> Session:
        self._process.require()
        session = self._session
        if session is None:
            raise ValueError("this client is closed")
        return session


async def _open(host: str, port: int, trust: Trust, deadline: Deadline) -> Session:
    """Verify whoever is there; after a handshake that failed, once more from the beginning."""
    try:
        return await _attest(host, port, trust, deadline)
    except grpc.RpcError as error:
        if not nobody_answered(error):
            raise no_evidence(error) from error
    try:
        return await _attest(host, port, trust, deadline)
    except grpc.RpcError as error:
        raise no_evidence(error) from error


async def _attest(host: str, port: int, trust: Trust, deadline: Deadline) -> Session:
    """The whole verification; grpc.RpcError if the challenge was not answered."""
    verification = Verification(trust)
    certificate = await asyncio.to_thread(fetch_certificate, host, port, deadline)
    await asyncio.to_thread(verification.read_certificate, certificate, now())
    async with _pinned(host, port, channel.EVIDENCE_BYTES, certificate) as opened:
        asked_at = elapsed()
        ask = opened.unary_unary(names.GET_EVIDENCE)
        answer = await ask(verification.challenge(), timeout=deadline.left())
    verified = await asyncio.to_thread(verification.accept, answer, now())
    pinned = _pinned(host, port, channel.ANSWER_BYTES, *verified.certificates)
    return Session(pinned, verified, asked_at)


def _pinned(host: str, port: int, answer_bytes: int, *certificates: bytes) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(
        channel.target(host, port),
        channel.credentials(*certificates),
        channel.options(answer_bytes),
    )


async def _metadata(
    session: Session, model: str, version: str, root: bytes, deadline: Deadline
) -> ModelMetadata:
    key = (model, version, root)
    if key not in session.metadata:
        request = metadata_request(model, version)
        answer = await session.call(names.MODEL_METADATA, request, root, deadline)
        session.metadata[key] = read_metadata(answer, model)
    return session.metadata[key]


async def _told(session: Session, probe: Probe, deadline: Deadline) -> Told | None:
    model, version, root = probe
    try:
        return root, await _metadata(session, model, version, root, deadline)
    except grpc.RpcError as error:
        if unknown_model(error):
            return None
        other = root_of(error, session.verified)
    return other, await _metadata(session, model, version, other, deadline)
