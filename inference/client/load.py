"""Asks a verified server as fast as it answers, and keeps how long each answer took."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.pool_async import AsyncPool
from sealserve.inference.client.prediction import Question
from sealserve.inference.client.session_async import AsyncSession
from sealserve.inference.wire import names
from sealserve.inference.wire.datatypes import data_type
from sealserve.inference.wire.spec import ANY_SIZE, ModelMetadata, TensorSpec
from sealserve.native.errors import SealserveError

_TEXT: Final = b"sealserve"


@dataclass(frozen=True, slots=True)
class Load:
    """in_flight: so many ask, each again once it was answered. Failures count as answers.

    warm_seconds: before the time that counts.
    """

    in_flight: int
    seconds: float
    warm_seconds: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """latencies: seconds of each answer that was good, sorted. failures: how many, by kind."""

    seconds: float
    latencies: tuple[float, ...]
    failures: Mapping[str, int]

    @property
    def per_second(self) -> float:
        """Good answers."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """The latency that so many per cent of the answers did not exceed, in seconds."""
        if not self.latencies:
            return float("nan")
        rank = -(-len(self.latencies) * percent // 100)  # the nearest rank, rounded up
        return self.latencies[max(int(rank), 1) - 1]


def random_inputs(metadata: ModelMetadata, rows: int) -> dict[str, Any]:
    """Values for each input of a model, the same each time. rows: of a first dimension of any size.

    Any other dimension of any size is 1. Integers are zeros, which no table's index is outside of.
    """
    random = np.random.default_rng(0)
    return {spec.name: _values(spec, rows, random) for spec in metadata.inputs}


def _values(spec: TensorSpec, rows: int, random: np.random.Generator) -> Any:
    sizes = (rows if position == 0 else 1 for position in range(len(spec.shape)))
    shape = tuple(
        size if wanted == ANY_SIZE else wanted
        for wanted, size in zip(spec.shape, sizes, strict=True)
    )
    if spec.datatype == "BYTES":
        return np.full(shape, _TEXT, object)
    if spec.datatype == "BF16":
        return random.integers(0, 256, shape).astype(np.float32)
    storage = data_type(spec.datatype).storage
    assert storage is not None  # BYTES alone has none
    if storage.kind == "f":
        return random.random(shape).astype(storage)
    return np.zeros(shape, storage)


def request_for(metadata: ModelMetadata, inputs: Mapping[str, object], version: str) -> bytes:
    """The encoded question, so that no time of ours is measured."""
    question = Question.of(metadata, inputs, version=version, outputs=None, cast="safe")
    return question.request


async def measure(pool: AsyncPool, model: str, request: bytes, load: Load) -> Measured:
    """Ask for so many seconds. Raises the last failure if no answer was good."""
    latencies: list[float] = []
    failures: Counter[str] = Counter()
    last: list[SealserveError] = []
    start = time.perf_counter() + load.warm_seconds
    end = start + load.seconds

    async def one() -> None:
        counted = False  # a server that is slower than our time is measured too
        while (asked := time.perf_counter()) < end or not counted:
            failure = await _asked(pool, model, request, load.timeout_seconds)
            if asked < start:
                continue
            counted = True
            if failure is None:
                latencies.append(time.perf_counter() - asked)
            else:
                failures[type(failure).__name__] += 1
                last[:] = [failure]
                await asyncio.sleep(getattr(failure, "retry_after_seconds", 0.0))

    async with asyncio.TaskGroup() as group:
        for _ in range(load.in_flight):
            group.create_task(one())
    if not latencies:
        raise last[0]
    return Measured(time.perf_counter() - start, tuple(sorted(latencies)), dict(failures))


async def _asked(
    pool: AsyncPool, model: str, request: bytes, timeout_seconds: float
) -> SealserveError | None:
    """One question; why there was no answer."""
    deadline = Deadline(timeout_seconds)

    async def ask(session: AsyncSession, root: bytes) -> None:
        await session.call(names.MODEL_INFER, request, root, deadline)

    try:
        await pool.on_root(model, ask, f"prediction by {model}", deadline)
    except SealserveError as error:
        return error
    return None


def shapes(inputs: Mapping[str, Any]) -> dict[str, list[int]]:
    """What is sent, for people."""
    return {name: list(np.shape(value)) for name, value in inputs.items()}
