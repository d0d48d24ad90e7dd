"""Requests share runs, and each gets its own rows: whoever came, left or failed beside it."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from sealserve.inference.server.batching import MAX_BATCH_BYTES, run_each, run_together
from sealserve.inference.server.config import Limits, ModelOptions
from sealserve.inference.server.predictions import Prediction, Predictions, answers
from sealserve.inference.server.registry import ServedSession
from sealserve.inference.server.runtime import Session
from sealserve.inference.wire.infer import (
    IncomingRequest,
    InferRequest,
    InferResponse,
    decode_response,
    encode_request,
    encode_response,
)
from sealserve.inference.wire.spec import TensorSpec
from sealserve.inference.wire.tensor import Tensor
from sealserve.native.errors import InputError
from support.batch_models import WIDTH, dense, node, session

BAD = -1.0  # a number that the model below refuses


class Doubling:
    """Doubles rows of any width, and says which width that was. Keeps the rows of each run."""

    inputs = (TensorSpec("x", "FP32", (-1, -1)),)
    outputs = (TensorSpec("twice", "FP32", (-1, -1)), TensorSpec("width", "INT64", (-1,)))

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)

    def run(self, request: InferRequest) -> tuple[Tensor, ...]:
        (x,) = request.inputs
        self.runs.append(x.shape[0])
        self.began.release()
        self.gate.wait()
        if (x.data == BAD).any():
            raise InputError("the model does not accept inputs of these shapes")
        every = (
            Tensor("twice", "FP32", x.shape, x.data * np.float32(2)),
            Tensor("width", "INT64", x.shape[:1], np.full(x.shape[0], x.shape[1], np.int64)),
        )
        return tuple(each for each in every if not request.outputs or each.name in request.outputs)


def request(*rows: Sequence[float], outputs: tuple[str, ...] = ()) -> InferRequest:
    x = np.array(rows, np.float32)
    return InferRequest("net", "", (Tensor("x", "FP32", x.shape, x),), outputs)


def served(model: Any, **options: Any) -> ServedSession:
    return ServedSession(
        "net", "1", bytes(32), cast(Session, model), ModelOptions(**options), shares_runs=True
    )


async def predict(predictions: Predictions, model: ServedSession, asked: InferRequest) -> Any:
    data = encode_request(asked)
    prediction = Prediction(IncomingRequest(data), encode_response, 0)
    answer, _ = await predictions.run(model, prediction, seconds=60.0)
    return {tensor.name: tensor.data for tensor in decode_response(answer).outputs}


# ---- one run


def test_each_gets_its_rows_in_order() -> None:
    model = Doubling()
    answers = run_together(model, [request([1, 2]), request([3, 4], [5, 6]), request([7, 8])])
    assert answers is not None
    assert [outputs[0].data.tolist() for outputs in answers] == [
        [[2, 4]],
        [[6, 8], [10, 12]],
        [[14, 16]],
    ]
    assert [outputs[1].shape for outputs in answers] == [(1,), (2,), (1,)]
    assert model.runs == [4]


def test_rows_of_an_answer_are_not_copied() -> None:
    answers = run_together(Doubling(), [request([1, 2]), request([3, 4])])
    assert answers is not None
    one, two = (outputs[0].data for outputs in answers)
    assert one.base is not None
    assert one.base is two.base


def test_what_stood_there_before_is_in_no_answer() -> None:
    model = Doubling()
    run_together(model, [request([7, 7], [7, 7], [7, 7]), request([7, 7])])
    answers = run_together(model, [request([1, 2]), request([3, 4])])
    assert answers is not None
    assert [outputs[0].data.tolist() for outputs in answers] == [[[2, 4]], [[6, 8]]]


def test_inputs_are_joined_by_name() -> None:
    kinds = [("a", TensorProto.FLOAT, ("n", 1)), ("b", TensorProto.INT64, ("n", 1))]
    model = session(
        [node("Identity", "a", "c"), node("Identity", "b", "d")],
        takes=kinds,
        gives=[("c", TensorProto.FLOAT), ("d", TensorProto.INT64)],
    )
    a = [Tensor("a", "FP32", (1, 1), np.array([[n]], np.float32)) for n in range(2)]
    b = [Tensor("b", "INT64", (1, 1), np.array([[-n]], np.int64)) for n in range(2)]
    asked = [InferRequest("", "", (a[0], b[0])), InferRequest("", "", (b[1], a[1]))]
    answers = run_together(model, asked)
    assert answers is not None
    assert [[each.data.item() for each in outputs] for outputs in answers] == [[0, 0], [1, -1]]


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.BOOL])
def test_types_that_stand_otherwise_in_memory(kind: int) -> None:
    model = session([node("Identity", "x")], takes=[("x", kind, ("n", 2))], gives=[("y", kind)])
    datatype = model.inputs[0].datatype
    values = {"BYTES": [b"", b"text"], "BF16": [0x3F80, 0x7FC0], "BOOL": [True, False]}[datatype]
    data = np.array([values], object if datatype == "BYTES" else None)
    data = data.astype(np.uint16) if datatype == "BF16" else data
    one = Tensor("x", datatype, (1, 2), data)
    two = Tensor("x", datatype, (1, 2), data[:, ::-1].copy())
    answers = run_together(model, [InferRequest("", "", (each,)) for each in (one, two)])
    assert answers is not None
    assert [outputs[0].data.tolist() for outputs in answers] == [
        one.data.tolist(),
        two.data.tolist(),
    ]


def test_one_that_fails_fails_alone() -> None:
    model = Doubling()
    asked = [request([1, 2]), request([3, BAD]), request([5, 6])]
    first, second, third = run_each(model, asked, together=True)
    assert isinstance(second, InputError)
    assert isinstance(first, tuple)
    assert isinstance(third, tuple)
    assert (first[0].data.tolist(), third[0].data.tolist()) == ([[2, 4]], [[10, 12]])
    assert model.runs == [3, 1, 1, 1]


def test_answers_that_cannot_be_told_apart_are_made_one_by_one() -> None:
    class Counting(Doubling):
        def run(self, request: InferRequest) -> tuple[Tensor, ...]:
            rows = np.array([request.inputs[0].shape[0]], np.int64)
            return (*super().run(request), Tensor("rows", "INT64", (1,), rows))

    model = Counting()
    answers = run_each(model, [request([1, 2]), request([3, 4])], together=True)
    assert [cast(Any, outputs)[2].data.tolist() for outputs in answers] == [[1], [1]]
    assert model.runs == [2, 1, 1]


def test_nothing_is_joined_unless_told() -> None:
    model = Doubling()
    run_each(model, [request([1, 2]), request([3, 4])], together=False)
    assert model.runs == [1, 1]


# ---- many callers

CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "rows": st.integers(0, 5),
            "width": st.sampled_from([1, 2]),
            "outputs": st.sampled_from([(), ("twice",), ("width", "twice")]),
            "bad": st.sampled_from([False, False, False, True]),
            "leaves": st.sampled_from([False, False, True]),
            "turns": st.integers(0, 3),
        }
    ),
    max_size=24,
)


@settings(max_examples=60, deadline=None)
@given(calls=CALLS, running=st.integers(1, 3), most=st.integers(2, 8))
def test_rows_never_cross_between_callers(calls: list[Any], running: int, most: int) -> None:
    """Arrivals, kinds, sizes, failures and departures at random; every row says whose it is."""
    model = Doubling()
    net = served(model, batch_rows=most)

    async def caller(predictions: Predictions, number: int, call: Any) -> None:
        for _ in range(call["turns"]):
            await asyncio.sleep(0)
        rows = [[100.0 * number + row] * call["width"] for row in range(call["rows"])]
        if call["bad"] and rows:
            rows[0][0] = BAD
        x = np.array(rows, np.float32).reshape(call["rows"], call["width"])
        asked = InferRequest("net", "", (Tensor("x", "FP32", x.shape, x),), call["outputs"])
        if call["bad"] and rows:
            with pytest.raises(InputError):
                await predict(predictions, net, asked)
            return
        answer = await predict(predictions, net, asked)
        assert set(answer) == set(call["outputs"] or ("twice", "width"))
        assert answer["twice"].shape == x.shape
        assert answer["twice"].tolist() == (2 * x).tolist()

    async def main() -> None:
        predictions = Predictions(Limits(running=running))
        tasks = [
            asyncio.create_task(caller(predictions, number, call))
            for number, call in enumerate(calls)
        ]
        await asyncio.sleep(0)
        for task, call in zip(tasks, calls, strict=True):
            if call["leaves"]:
                task.cancel()
        for task, call in zip(tasks, calls, strict=True):
            if call["leaves"]:
                await asyncio.wait([task])
            else:
                await task
        predictions.close()

    asyncio.run(main())
    assert all(rows <= max(most, 5) for rows in model.runs)


def run_while_busy(model: Doubling, net: ServedSession, asked: Sequence[InferRequest]) -> list[Any]:
    """What becomes of requests that come while another one runs."""

    async def main() -> list[Any]:
        predictions = Predictions(Limits(running=1))
        model.gate.clear()
        first = asyncio.create_task(predict(predictions, net, request([0, 0])))
        await asyncio.to_thread(model.began.acquire)
        tasks = [asyncio.create_task(predict(predictions, net, each)) for each in asked]
        while predictions.admitted < 1 + len(tasks):
            await asyncio.sleep(0)
        model.gate.set()
        await first
        answers = await asyncio.gather(*tasks)
        predictions.close()
        return answers

    return asyncio.run(main())


def test_what_came_while_the_last_run_was_busy_shares_one() -> None:
    model = Doubling()
    answers = run_while_busy(model, served(model), [request([n, n]) for n in range(5)])
    assert [answer["twice"].tolist() for answer in answers] == [[[2.0 * n] * 2] for n in range(5)]
    assert model.runs == [1, 5]


def test_nothing_is_shared_by_a_model_that_may_not() -> None:
    model = Doubling()
    net = dataclasses.replace(served(model), shares_runs=False)
    run_while_busy(model, net, [request([n, n]) for n in range(3)])
    assert model.runs == [1, 1, 1, 1]


DIFFERENT = {
    "another width": request([1]),
    "other outputs": request([1, 1], outputs=("width",)),
    "outputs in another order": request([1, 1], outputs=("width", "twice")),
    "no rows": InferRequest(
        "net", "", (Tensor("x", "FP32", (0, 2), np.empty((0, 2), np.float32)),)
    ),
    "as many rows as a run may have": request(*([[1, 1]] * 8)),
    "more rows than a run may have": request(*([[1, 1]] * 9)),
}


@pytest.mark.parametrize("other", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_a_request_of_another_kind_runs_by_itself(other: InferRequest) -> None:
    model = Doubling()
    net = served(model, batch_rows=8)
    run_while_busy(model, net, [request([1, 1]), other, request([1, 1])])
    assert sorted(model.runs) == sorted([1, 2, other.inputs[0].shape[0]])


def test_a_run_takes_no_more_memory_than_it_may() -> None:
    model = Doubling()
    width = MAX_BATCH_BYTES // 4 // 3
    asked = [request(np.zeros(width, np.float32)) for _ in range(4)]
    run_while_busy(model, served(model), asked)
    assert sorted(model.runs) == [1, 1, 3]


def test_two_inputs_with_other_numbers_of_rows_run_by_themselves() -> None:
    takes = [("a", TensorProto.FLOAT, ("n", 1)), ("b", TensorProto.FLOAT, ("m", 1))]
    model = session([node("Mul", "a b")], takes=takes)

    async def main() -> Any:
        predictions = Predictions(Limits())
        a = Tensor("a", "FP32", (2, 1), np.array([[1], [2]], np.float32))
        b = Tensor("b", "FP32", (1, 1), np.array([[3]], np.float32))
        answer = await predict(predictions, served(model), InferRequest("net", "", (a, b)))
        predictions.close()
        return answer["y"].tolist()

    assert asyncio.run(main()) == [[3], [6]]


@pytest.mark.parametrize("error", [InputError("31337"), ValueError("31337"), MemoryError()])
def test_an_answer_that_cannot_be_encoded_is_one_callers_alone(error: Exception) -> None:
    def fails(_response: InferResponse) -> bytes:
        raise error

    model = Doubling()
    asked = [IncomingRequest(encode_request(request([n, n]))) for n in range(3)]
    encoders = [encode_response, fails, encode_response]
    first, second, third = answers(
        served(model), [Prediction(*each, 0) for each in zip(asked, encoders, strict=True)]
    )
    assert second is error
    assert isinstance(first, tuple)
    assert isinstance(third, tuple)
    assert decode_response(third[0]).outputs[0].data.tolist() == [[4, 4]]
    assert model.runs == [3]


@pytest.mark.parametrize("error", [InputError("31337"), ValueError("31337"), MemoryError()])
def test_whatever_a_joined_run_fails_with_each_is_tried_alone(error: Exception) -> None:
    class Failing(Doubling):
        def run(self, request: InferRequest) -> tuple[Tensor, ...]:
            if request.inputs[0].shape[0] > 1:
                raise error
            return super().run(request)

    model = Failing()
    outcomes = run_each(model, [request([1, 2]), request([3, 4])], together=True)
    assert [cast(Any, each)[0].data.tolist() for each in outcomes] == [[[2, 4]], [[6, 8]]]


def test_a_deadline_that_has_passed_costs_nothing() -> None:
    model = Doubling()

    async def main() -> None:
        predictions = Predictions(Limits())
        data = encode_request(request([1, 1]))
        prediction = Prediction(IncomingRequest(data), encode_response, 0)
        with pytest.raises(TimeoutError):
            await predictions.run(served(model), prediction, seconds=0.0)
        predictions.close()

    asyncio.run(main())
    assert model.runs == []


def test_answers_of_joined_runs_are_those_of_the_runtime() -> None:
    """Bit by bit where a request ran by itself, within the tolerance where it did not."""
    model = dense()
    net = served(model)
    x = np.random.default_rng(1).standard_normal((64, 1, WIDTH)).astype(np.float32)
    asked = [InferRequest("net", "", (Tensor("x", "FP32", (1, WIDTH), row),)) for row in x]
    alone = [model.run(each)[0].data for each in asked]

    async def main() -> None:
        predictions = Predictions(Limits())
        (first, *_) = await asyncio.gather(predict(predictions, net, asked[0]))
        assert first["y"].tobytes() == alone[0].tobytes()
        answers = await asyncio.gather(*(predict(predictions, net, each) for each in asked))
        for answer, wanted in zip(answers, alone, strict=True):
            np.testing.assert_allclose(answer["y"], wanted, rtol=1e-5)
        predictions.close()

    asyncio.run(main())
