"""A verified server that answers something else than was asked: neither believed nor asked again.

IntegrityError, because what came is not what an attested server sends: no retry mends it, and
nothing the caller gave was wrong. Another model than the verified one is a PolicyViolation, as it
is when the server says so itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import connect, connect_async
from sealserve.inference.client.prediction import Question, read_metadata
from sealserve.inference.wire import names
from sealserve.inference.wire.infer import InferResponse, decode_response, encode_response
from sealserve.inference.wire.open_inference_pb2 import ModelMetadataResponse
from sealserve.inference.wire.spec import ModelMetadata, TensorSpec
from sealserve.inference.wire.tensor import Tensor
from sealserve.native.errors import InputError, IntegrityError, PolicyViolation, SealserveError
from support import client_case as case
from support.client_server import MODEL, Doubler, LiveServer, Rewrite

ROWS = {"x": [[1.0, 2.0, 3.0]]}
METADATA = ModelMetadata(MODEL, ("1",), "onnxruntime_onnx", Doubler.inputs, Doubler.outputs)


def refused(server: LiveServer, simulated_root: SimulatedRoot, method: str) -> SealserveError:
    """Why there is no prediction; the server was asked once."""
    with server, connect(server.target, case.trust(simulated_root)) as client:
        with pytest.raises(SealserveError) as caught:
            client.predict(MODEL, ROWS)
        assert server.record.count(method) == 1
        assert server.record.count(names.GET_EVIDENCE) == 1
    return caught.value


def answering(simulated_root: SimulatedRoot, method: str, rewrite: Rewrite) -> LiveServer:
    return case.live(case.machine(simulated_root), rewrites={method: rewrite})


# ---- predictions


def _changed(change: Callable[[InferResponse], InferResponse]) -> Callable[[bytes], bytes]:
    return lambda data: encode_response(change(decode_response(data)))


def _outputs(*outputs: Tensor) -> Callable[[bytes], bytes]:
    return _changed(lambda answer: InferResponse(answer.model, answer.version, outputs))


def _zeros(name: str, datatype: str, dtype: str, *shape: int) -> Tensor:
    return Tensor(name, datatype, shape, np.zeros(shape, dtype))


TWICE = _zeros("twice", "FP32", "<f4", 1, 3)
COUNT = _zeros("rows", "INT64", "<i8", 1)
WRONG: dict[str, Callable[[bytes], bytes]] = {
    "no message": lambda data: b"\xff",
    "nothing": lambda data: b"",
    "a cut message": lambda data: data[:-1],
    "bytes after the message": lambda data: data + b"\xff",
    "an output is missing": _outputs(TWICE),
    "an output nobody asked for": _outputs(TWICE, COUNT, _zeros("more", "INT64", "<i8", 1)),
    "an output twice": _outputs(TWICE, TWICE, COUNT),
    "another type": _outputs(TWICE, _zeros("rows", "INT32", "<i4", 1)),
    "another width": _outputs(_zeros("twice", "FP32", "<f4", 1, 4), COUNT),
    "another rank": _outputs(_zeros("twice", "FP32", "<f4", 3), COUNT),
    "another model": _changed(lambda answer: InferResponse("lung", "1", answer.outputs)),
    "another name": _outputs(_zeros("thrice", "FP32", "<f4", 1, 3), COUNT),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_that_does_not_fit(simulated_root: SimulatedRoot, name: str) -> None:
    server = answering(simulated_root, names.MODEL_INFER, lambda data, _: WRONG[name](data))
    error = refused(server, simulated_root, names.MODEL_INFER)
    assert type(error) is IntegrityError
    assert "answer" in error.message
    assert error.hint


def _root(*values: bytes) -> Rewrite:
    def rewrite(data: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(tuple((names.MODEL_ROOT_KEY, v.hex()) for v in values))
        return data

    return rewrite


ROOTS = {"another": [case.OTHER], "none": [], "two": [case.ROOT, case.OTHER]}


@pytest.mark.parametrize("method", [names.MODEL_INFER, names.MODEL_METADATA])
@pytest.mark.parametrize("name", ROOTS)
def test_an_answer_of_another_root(simulated_root: SimulatedRoot, name: str, method: str) -> None:
    server = answering(simulated_root, method, _root(*ROOTS[name]))
    error = refused(server, simulated_root, method)
    assert isinstance(error, PolicyViolation)
    (finding,) = error.findings
    assert finding.code == "answer_root"
    assert finding.wanted == case.ROOT.hex()
    assert all(root.hex() in finding.seen for root in ROOTS[name])


@given(st.binary(max_size=64))
def test_random_answers_raise_nothing_else(data: bytes) -> None:
    question = Question.of(METADATA, ROWS, version="", outputs=None, cast="safe")
    with pytest.raises(IntegrityError):
        question.answer(data)


@given(st.data())
def test_answers_with_one_byte_changed_raise_nothing_else(data: st.DataObject) -> None:
    question = Question.of(METADATA, ROWS, version="", outputs=None, cast="safe")
    good = bytearray(encode_response(InferResponse(MODEL, "1", (TWICE, COUNT))))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    try:
        answer = question.answer(bytes(good))
    except IntegrityError:
        return
    assert {name: (array.dtype.str, array.ndim) for name, array in answer.items()} == {
        "twice": ("<f4", 2),
        "rows": ("<i8", 1),
    }


# ---- metadata

Specs = tuple[TensorSpec, ...]


def _told(inputs: Specs = Doubler.inputs, outputs: Specs = Doubler.outputs) -> bytes:
    told = ModelMetadata(MODEL, ("1",), "onnxruntime_onnx", inputs, outputs)
    return told.encode().SerializeToString()


def _spec(name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (1,)) -> TensorSpec:
    return TensorSpec(name, datatype, shape)


TOLD: dict[str, bytes] = {
    "no message": b"\xff",
    "nothing": b"",
    "another model": ModelMetadataResponse(name="lung").SerializeToString(),
    "a type of nobody's": _told(inputs=(_spec(datatype="FP8"),)),
    "no type": _told(inputs=(_spec(datatype=""),)),
    "an output's type of nobody's": _told(outputs=(_spec(datatype="FP8"),)),
    "a negative dimension": _told(inputs=(_spec(shape=(-2,)),)),
    "too many dimensions": _told(outputs=(_spec(shape=(1,) * 33),)),
    "an input twice": _told(inputs=(_spec(), _spec())),
    "an output twice": _told(outputs=(_spec(), _spec())),
    "too many inputs": _told(inputs=tuple(_spec(f"x{n}") for n in range(257))),
    "a nameless input": _told(inputs=(_spec(""),)),
}


@pytest.mark.parametrize("name", TOLD)
def test_metadata_that_is_none(simulated_root: SimulatedRoot, name: str) -> None:
    server = answering(simulated_root, names.MODEL_METADATA, lambda data, _: TOLD[name])
    error = refused(server, simulated_root, names.MODEL_METADATA)
    assert type(error) is IntegrityError
    assert "metadata" in error.message
    assert server.record.prediction_bytes == 0


@given(st.binary(max_size=64))
def test_random_metadata_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read_metadata(data, MODEL)


def test_metadata_of_a_model(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        assert client.metadata(MODEL) == client.metadata(MODEL) == METADATA
        assert server.record.count(names.MODEL_METADATA) == 1
        assert client.models() == {MODEL: (case.ROOT.hex(),)}


# ---- what the caller asks for

ASKED: dict[str, dict[str, Any]] = {
    "an output there is not": {"outputs": ["thrice"]},
    "an output twice": {"outputs": ["twice", "twice"]},
    "a version there is not": {"version": "2"},
    "a version outside UTF-8": {"version": "\udcff"},
}


@pytest.mark.parametrize("name", ASKED)
def test_a_question_that_does_not_fit(simulated_root: SimulatedRoot, name: str) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        with pytest.raises(InputError):
            client.predict(MODEL, ROWS, **ASKED[name])
        assert server.record.prediction_bytes == 0


def test_only_the_outputs_that_were_asked_for(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        assert list(client.predict(MODEL, ROWS, outputs=["rows"])) == ["rows"]
        assert list(client.predict(MODEL, ROWS, outputs=["rows", "twice"])) == ["rows", "twice"]


def test_a_model_the_trust_file_does_not_name(simulated_root: SimulatedRoot) -> None:
    with (
        case.live(case.machine(simulated_root)) as server,
        connect(server.target, case.trust(simulated_root)) as client,
    ):
        server.record.calls.clear()
        with pytest.raises(PolicyViolation):
            client.predict("lung", ROWS)
        assert server.record.calls == []


def test_the_asyncio_client_refuses_them_too(simulated_root: SimulatedRoot) -> None:
    async def ask(target: str) -> None:
        async with await connect_async(target, case.trust(simulated_root)) as client:
            await client.predict(MODEL, ROWS)

    for method, rewrite, wanted in (
        (names.MODEL_INFER, lambda data, _: b"\xff", IntegrityError),
        (names.MODEL_METADATA, lambda data, _: b"\xff", IntegrityError),
        (names.MODEL_INFER, _root(case.OTHER), PolicyViolation),
    ):
        with (
            answering(simulated_root, method, rewrite) as server,
            pytest.raises(wanted),
        ):
            asyncio.run(ask(server.target))
