"""How a prediction runs: at once, in a thread by itself, or in one run with others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter_ns
from typing import Any, Final

from sealserve.inference.server.admission import Admission, Lane
from sealserve.inference.server.batching import MAX_BATCH_BYTES, Kind, Outputs, run_each
from sealserve.inference.server.brief import BriefRuns
from sealserve.inference.server.config import Limits
from sealserve.inference.server.registry import ServedSession
from sealserve.inference.server.statistics import Times
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.infer import IncomingRequest, InferRequest, InferResponse
from sealserve.native.errors import InputError

_TEXT_BYTES: Final = 64  # of an element of BYTES, for want of anything better
Answer = tuple[bytes, Times]
Encode = Callable[[InferResponse], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A request that was checked against its model, and how its answer is encoded.

    asked: when it came, on the clock `time.perf_counter_ns`.
    """

    incoming: IncomingRequest
    encode: Encode
    asked: int

    def answer(self, model: ServedSession, request: InferRequest, outputs: Outputs) -> bytes:
        """The encoded answer."""
        return self.encode(InferResponse(model.name, model.version, outputs, request.id))


class Predictions:
    """All that a server's callers may have running and waiting."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._admission = Admission(running=limits.running, waiting=limits.waiting)
        self._brief = BriefRuns()
        self._lanes: dict[bytes, Lane] = {}  # by root

    async def run(self, model: ServedSession, prediction: Prediction, *, seconds: float) -> Answer:
        """The encoded answer, and when it was made. seconds: until nobody waits for it any more.

        Raises InputError, BusyError, TimeoutError.
        """
        if seconds <= 0:
            raise TimeoutError
        if self._brief.may(model, prediction.incoming):
            answer = self._at_once(model, prediction)
            if answer is not None:
                return answer
        kind, rows, most_rows = _company(model, prediction.incoming)
        in_turn: Answer = await self._admission.run(
            self._lane(model),
            prediction,
            kind=kind,
            rows=rows,
            most_rows=most_rows,
            deadline=time.monotonic() + seconds,
        )
        return in_turn

    def require_room(self, model: ServedSession, incoming: IncomingRequest) -> None:
        """BusyError where a request for this model would be refused, before it is checked."""
        if not self._brief.may(model, incoming):
            self._admission.require_room(self._lane(model))

    @property
    def admitted(self) -> int:
        """How many run or wait in threads."""
        return self._admission.admitted

    def close(self) -> bool:
        """As `Admission.close`."""
        self._brief.close()
        return self._admission.close()

    def _at_once(self, model: ServedSession, prediction: Prediction) -> Answer | None:
        began = perf_counter_ns()
        request = prediction.incoming.decode()
        decoded = perf_counter_ns()
        outputs = self._brief.run(model, request)
        if outputs is None:
            return None
        ran = perf_counter_ns()
        data = prediction.answer(model, request, outputs)
        return data, Times(prediction.asked, began, decoded, ran, perf_counter_ns())

    def _lane(self, model: ServedSession) -> Lane:
        lane = self._lanes.get(model.root)
        if lane is None:
            lane = self._lanes[model.root] = self._new_lane(model)
        return lane

    def _new_lane(self, model: ServedSession) -> Lane:
        options = model.options
        return Lane(
            lambda predictions: answers(model, predictions),
            running=options.running or self._limits.running,
            waiting=options.waiting or self._limits.waiting,
            rows=options.batch_rows if model.shares_runs else 1,
            delay_seconds=options.batch_delay_ms / 1000 if model.shares_runs else 0.0,
        )


def answers(model: ServedSession, predictions: Sequence[Prediction]) -> list[Answer | Exception]:
    """The answer to each prediction, or what was wrong with it. In a thread."""
    began = perf_counter_ns()
    requests = [_decoded(each.incoming) for each in predictions]
    decoded = perf_counter_ns()
    good = [request for request in requests if isinstance(request, InferRequest)]
    found = iter(run_each(model.session, good, together=model.shares_runs))
    outputs = [
        next(found) if isinstance(request, InferRequest) else request for request in requests
    ]
    ran = perf_counter_ns()

    def answer(prediction: Prediction, request: Any, each: Outputs | Exception) -> Any:
        if isinstance(each, Exception):
            return each
        try:
            data = prediction.answer(model, request, each)
        except Exception as error:  # its caller's alone
            return error
        return data, Times(prediction.asked, began, decoded, ran, perf_counter_ns())

    return [answer(*each) for each in zip(predictions, requests, outputs, strict=True)]


def _decoded(incoming: IncomingRequest) -> InferRequest | Exception:
    try:
        return incoming.decode()
    except InputError as error:
        return error


def _company(model: ServedSession, incoming: IncomingRequest) -> tuple[Kind | None, int, int]:
    """Of which kind those are that may share its run, its own rows, and how many such a run has."""
    if not model.shares_runs:
        return None, 1, 1
    shapes = sorted(incoming.shapes)
    rows = {shape[0] for _, _, shape in shapes}
    most = _most_rows(model, shapes)
    if len(rows) != 1 or not 0 < (own := rows.pop()) < most:
        return None, 1, 1
    inputs = tuple((name, datatype, shape[1:]) for name, datatype, shape in shapes)
    return (inputs, incoming.wanted), own, most


def _most_rows(model: ServedSession, shapes: Sequence[tuple[str, str, tuple[int, ...]]]) -> int:
    row_bytes = sum(
        (DATA_TYPES[datatype].item_bytes or _TEXT_BYTES) * prod(shape[1:])
        for _, datatype, shape in shapes
    )
    return min(model.options.batch_rows, MAX_BATCH_BYTES // max(row_bytes, 1))
