"""The client for asyncio: as the one for threads, with `await`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

import grpc

from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.inputs import Cast
from sealserve.inference.client.known_models import ANYBODY, accepted
from sealserve.inference.client.pool_async import AsyncPool
from sealserve.inference.client.prediction import Question
from sealserve.inference.client.roster import Replica
from sealserve.inference.client.served import Served, survey
from sealserve.inference.client.session_async import AsyncSession
from sealserve.inference.client.targets import Target
from sealserve.inference.client.terms import Terms
from sealserve.inference.wire import names
from sealserve.inference.wire.spec import ModelMetadata
from sealserve.inference.wire.tensor import Array
from sealserve.policy import Trust, Verdict


async def connect_async(
    target: Target,
    trust: Trust,
    *,
    timeout_seconds: float = 10.0,
    connections: int = 1,
    token: str | None = None,
    certificate: Certificate | None = None,
) -> AsyncClient:
    """Verify a server, or several replicas of one, for this event loop; as `connect`."""
    deadline = Deadline(timeout_seconds)
    pool = await AsyncPool.of(target, Terms(trust, connections, token, certificate))
    try:
        await pool.open(deadline)
    except BaseException:
        await pool.close()
        raise
    return AsyncClient(pool)


class AsyncClient:
    """A server that was verified, or its replicas. `Client` says what each method promises."""

    def __init__(self, pool: AsyncPool) -> None:
        self._pool = pool

    @property
    def verdict(self) -> Verdict:
        """What the last verification that succeeded found."""
        return self._pool.roster.latest.verdict

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """Every replica in order: its verdict, or the reason why it is left out."""
        return self._pool.replicas

    def models(self) -> dict[str, tuple[str, ...]]:
        """The models that the trust file accepts and a replica serves: roots (hex) by name."""
        return accepted(self._pool.terms.trust, self._pool.roster.attested)

    async def served(self, *, timeout_seconds: float = 10.0) -> Served:
        """Ask a server under which names and versions it has these models."""
        deadline = Deadline(timeout_seconds)

        async def ask(session: AsyncSession) -> Served:
            steps = survey(self._pool.terms.trust, session.verified)
            step = next(steps)
            while not isinstance(step, Served):
                step = steps.send(await session.told(step, deadline))
            return step

        return await self._pool.ask(ask, "what the server has", deadline, ANYBODY)

    async def metadata(
        self, model: str, *, version: str = "", timeout_seconds: float = 10.0
    ) -> ModelMetadata:
        """Inputs and outputs of a model."""
        deadline = Deadline(timeout_seconds)

        async def ask(session: AsyncSession, root: bytes) -> ModelMetadata:
            return await session.about(model, version, root, deadline)

        return await self._pool.on_root(model, ask, f"metadata of {model}", deadline)

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

        async def ask(session: AsyncSession, root: bytes) -> dict[str, Array]:
            found = await session.about(model, version, root, deadline)
            question = Question.of(found, inputs, version=version, outputs=outputs, cast=cast)
            try:
                answer = await session.call(names.MODEL_INFER, question.request, root, deadline)
            except grpc.RpcError as error:
                question.require_taken(error)
                raise
            return question.answer(answer)

        return await self._pool.on_root(model, ask, f"prediction by {model}", deadline)

    async def recheck(self, *, timeout_seconds: float = 10.0) -> Verdict:
        """Verify every replica anew, with new nonces."""
        await self._pool.recheck(Deadline(timeout_seconds))
        return self.verdict

    async def close(self) -> None:
        """Close the channels; calls under way end, and calls after it raise ValueError."""
        await self._pool.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
