"""Short runs of quick models run at once; whatever goes on too long is done in a thread."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import threading
import time
from typing import Any, cast

import numpy as np
import pytest
from onnx import TensorProto

from sealserve.inference.server import brief
from sealserve.inference.server.brief import (
    MAX_MESSAGE_BYTES,
    MAX_NUMBER_BYTES,
    MAX_RUN_SECONDS,
    SECONDS_PER_BYTE,
    BriefRuns,
)
from sealserve.inference.server.config import Limits
from sealserve.inference.server.predictions import Prediction, Predictions
from sealserve.inference.server.registry import ServedSession
from sealserve.inference.server.runtime import Interruption, Session
from sealserve.inference.wire.infer import (
    IncomingRequest,
    InferRequest,
    decode_response,
    encode_request,
    encode_response,
)
from sealserve.inference.wire.open_inference_pb2 import ModelInferRequest
from sealserve.inference.wire.spec import ANY_SIZE, TensorSpec
from sealserve.inference.wire.tensor import Tensor
from sealserve.native.errors import InputError, SealserveError
from support.server_case import counter, echo, loaded, lookup


def quick(model: ServedSession) -> ServedSession:
    return dataclasses.replace(model, run_seconds=MAX_RUN_SECONDS)


def counting(turns: int) -> InferRequest:
    return InferRequest("", "", (Tensor("x", "INT64", (), np.array(turns, np.int64)),))


ONE_ROW = InferRequest("", "", (Tensor("x", "FP32", (1, 2), np.ones((1, 2), np.float32)),))
NET = loaded("echo", echo(TensorProto.FLOAT))
ASKED = IncomingRequest(encode_request(ONE_ROW))


class Watched:
    """A model that says in which thread it runs, and calls something meanwhile."""

    outputs = NET.session.outputs

    def __init__(self, meanwhile: Any = lambda: None) -> None:
        self.inputs = NET.session.inputs
        self.threads: list[threading.Thread] = []
        self.meanwhile = meanwhile

    def run(self, request: InferRequest, interruption: Any = None) -> tuple[Tensor, ...]:
        self.threads.append(threading.current_thread())
        if interruption is not None:
            self.meanwhile()
        return NET.session.run(request, interruption)


def watched(model: Watched) -> ServedSession:
    return quick(dataclasses.replace(NET, session=cast(Session, model)))


def predict(model: ServedSession, asked: InferRequest, *, message_bytes: int = 0) -> Any:
    async def main() -> Any:
        predictions = Predictions(Limits())
        incoming = IncomingRequest(encode_request(asked))
        incoming.message_bytes = message_bytes or incoming.message_bytes
        prediction = Prediction(incoming, encode_response, 0)
        try:
            return (await predictions.run(model, prediction, seconds=60.0))[0]
        finally:
            predictions.close()

    return decode_response(asyncio.run(main())).outputs[0].data


def test_a_quick_model_runs_on_the_event_loop() -> None:
    model = Watched()
    assert predict(watched(model), ONE_ROW).tolist() == [[1, 1]]
    assert model.threads == [threading.current_thread()]


@pytest.mark.parametrize(
    ("model", "message_bytes"),
    [
        (dataclasses.replace(NET, run_seconds=math.nextafter(MAX_RUN_SECONDS, 1)), 0),
        (NET, 0),
        (quick(NET), 2 * MAX_MESSAGE_BYTES),
    ],
    ids=["not so quick", "nobody knows how quick", "a long message"],
)
def test_others_run_in_threads(model: ServedSession, message_bytes: int) -> None:
    session = Watched()
    model = dataclasses.replace(model, session=cast(Session, session))
    assert predict(model, ONE_ROW, message_bytes=message_bytes).tolist() == [[1, 1]]
    assert threading.current_thread() not in session.threads


# ---- longer messages

WIDE = MAX_NUMBER_BYTES // 4  # numbers of a row


def wide(rows: int = 1, more: int = 0, **about: str) -> bytes:
    """A request of such rows, each of which has the most bytes that may run here."""
    array = np.zeros((rows, WIDE // rows + more), np.float32)
    return encode_request(InferRequest("", "", (Tensor("x", "FP32", array.shape, array),), **about))


def typed() -> bytes:
    asked = ModelInferRequest()
    given = asked.inputs.add(name="x", datatype="FP32", shape=(1, 8192))
    given.contents.fp32_contents.extend([0.0] * 8192)
    return asked.SerializeToString()


def texts(*, contents: int = 1) -> bytes:
    raw = bytes(MAX_MESSAGE_BYTES + 1)
    given = ModelInferRequest.InferInputTensor(name="x", datatype="BYTES", shape=(1, 8192))
    asked = ModelInferRequest(inputs=[given], raw_input_contents=[raw] * contents)
    return asked.SerializeToString()


def of_rows(*shape: int) -> ServedSession:
    """A model that takes this, and a third of the time that the most numbers may."""
    model = Watched()
    model.inputs = (TensorSpec("x", "FP32", shape),)
    return dataclasses.replace(watched(model), run_seconds=MAX_NUMBER_BYTES * SECONDS_PER_BYTE / 3)


ROWS = of_rows(ANY_SIZE, WIDE)
LONGER = {
    "many numbers": (ROWS, wide(), True),
    "as many rows as there is time for": (ROWS, wide(2), True),
    "fewer numbers, with as little time as a short message": (ROWS, wide(more=-WIDE + 8192), True),
    "more rows than such time": (ROWS, wide(2, more=-WIDE // 2 + 4096), False),
    "an unknown name": (ROWS, wide().replace(b"x", b"y", 1), True),  # refused where it is checked
    "a model without rows": (of_rows(3, WIDE), wide(3), True),
    "too many numbers": (ROWS, wide(more=1), False),
    "too many rows": (ROWS, wide(4), False),
    "rows of any size": (of_rows(ANY_SIZE, ANY_SIZE), wide(), False),
    "much beside": (ROWS, wide(id="x" * MAX_MESSAGE_BYTES), False),
    "numbers that have to be made": (ROWS, typed(), False),
    "texts": (ROWS, texts(), False),
    "contents of nothing": (ROWS, texts(contents=2), False),
    "an unknown type": (ROWS, wide().replace(b"FP32", b"FP33"), False),
}


@pytest.mark.parametrize(("model", "message", "may"), LONGER.values(), ids=LONGER)
def test_longer_messages_that_may_run_here(model: ServedSession, message: bytes, may: bool) -> None:
    assert BriefRuns().may(model, IncomingRequest(message)) is may


def test_many_numbers_run_on_the_event_loop() -> None:
    model = Watched()
    rows = np.ones((MAX_MESSAGE_BYTES, 2), np.float32)
    asked = InferRequest("", "", (Tensor("x", "FP32", rows.shape, rows),))
    immediate = dataclasses.replace(watched(model), run_seconds=0.0)
    assert predict(immediate, asked).all()
    assert model.threads == [threading.current_thread()]


def test_a_mistake_is_told_as_everywhere() -> None:
    asked = InferRequest("", "", (Tensor("x", "INT64", (1,), np.array([9], np.int64)),))
    with pytest.raises(InputError, match="does not accept"):
        predict(quick(loaded("lookup", lookup())), asked)


def test_a_run_can_be_interrupted() -> None:
    session = loaded("counter", counter()).session
    interruption = Interruption()
    timer = threading.Timer(0.01, interruption.set)
    timer.start()
    with pytest.raises(SealserveError, match="failed"):
        session.run(counting(2**40), interruption)
    timer.join()
    interruption.clear()
    assert session.run(counting(3), interruption)[0].data == 3


def test_what_goes_on_too_long_is_interrupted_and_left_to_a_thread() -> None:
    runs = BriefRuns()
    try:
        assert runs.run(loaded("counter", counter()), counting(2**40)) is None
        (answer,) = runs.run(loaded("counter", counter()), counting(3)) or ()
        assert answer.data == 3
    finally:
        runs.close()


def test_what_was_interrupted_is_answered_by_a_thread() -> None:
    def interrupted() -> None:
        raise SealserveError("the model failed on these inputs")

    model = Watched(interrupted)
    with pytest.raises(SealserveError):  # nobody interrupted it: it is the model's own failure
        predict(watched(model), ONE_ROW)
    assert len(model.threads) == 1


def test_an_interrupted_run_begins_again_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(BriefRuns):
        def run(self, model: ServedSession, request: InferRequest) -> None:
            return None

    monkeypatch.setattr("sealserve.inference.server.predictions.BriefRuns", Interrupted)
    model = Watched()
    assert predict(watched(model), ONE_ROW).tolist() == [[1, 1]]
    assert threading.current_thread() not in model.threads


def test_a_model_that_was_slow_stays_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    for name in ("monotonic", "thread_time"):
        monkeypatch.setattr(brief.time, name, lambda: clock[0])

    def slow() -> None:
        clock[0] += 2 * brief.SLOW_SECONDS

    model, other = watched(Watched(slow)), dataclasses.replace(quick(NET), root=bytes(32))
    runs = BriefRuns()
    try:
        assert runs.may(model, ASKED)
        assert runs.run(model, ONE_ROW) is not None
        assert not runs.may(model, ASKED)
        assert runs.may(other, ASKED)
        clock[0] += 1.0
        assert runs.may(model, ASKED)
    finally:
        runs.close()


def test_a_model_that_others_held_up_does_not_stay_away() -> None:
    def preempted() -> None:
        time.sleep(2 * brief.SLOW_SECONDS)

    model, runs = watched(Watched(preempted)), BriefRuns()
    try:
        assert runs.run(model, ONE_ROW) is not None
        assert runs.may(model, ASKED)
    finally:
        runs.close()


def test_an_interruption_that_came_late_hits_nobody_else() -> None:
    runs = BriefRuns()
    try:
        runs._interruption.set()
        assert runs.run(quick(NET), ONE_ROW) is None  # it is done again in a thread
        assert runs.run(quick(NET), ONE_ROW) is not None
    finally:
        runs.close()
