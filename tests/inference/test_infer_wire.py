"""ModelInfer's messages against protobuf's own reading; requests that contradict themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.inference.wire.infer import (
    InferRequest,
    InferResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from sealserve.inference.wire.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from sealserve.inference.wire.tensor import Tensor
from sealserve.native.errors import InputError

Input = ModelInferRequest.InferInputTensor
Output = ModelInferRequest.InferRequestedOutputTensor
X = Tensor("x", "FP32", (1, 2), np.array([[1, 2]], np.float32))
Y = Tensor("y", "INT64", (2,), np.array([3, 4], np.int64))


def test_a_request_is_what_protobuf_reads() -> None:
    data = encode_request(InferRequest("m", "2", (X, Y), ("out",), "id-1"))
    read = ModelInferRequest.FromString(data)
    assert (read.model_name, read.model_version, read.id) == ("m", "2", "id-1")
    assert [(i.name, i.datatype, list(i.shape)) for i in read.inputs] == [
        ("x", "FP32", [1, 2]),
        ("y", "INT64", [2]),
    ]
    assert read.raw_input_contents == [X.data.tobytes(), Y.data.tobytes()]
    assert [output.name for output in read.outputs] == ["out"]


def test_requests_and_answers_go_there_and_back() -> None:
    request = decode_request(encode_request(InferRequest("m", "2", (X, Y), ("out",), "i")))
    assert (request.model, request.version, request.outputs, request.id) == (
        "m",
        "2",
        ("out",),
        "i",
    )
    answer = decode_response(encode_response(InferResponse("m", "2", (X, Y), "i")))
    assert (answer.model, answer.version, answer.id) == ("m", "2", "i")
    for tensors in (request.inputs, answer.outputs):
        assert [(t.name, t.datatype, t.shape) for t in tensors] == [
            ("x", "FP32", (1, 2)),
            ("y", "INT64", (2,)),
        ]
        assert np.array_equal(tensors[0].data, X.data)
        assert np.array_equal(tensors[1].data, Y.data)


def test_typed_contents_are_read() -> None:
    typed = Input(
        name="x",
        datatype="FP32",
        shape=[1, 2],
        contents=InferTensorContents(fp32_contents=[1, 2]),
    )
    request = decode_request(ModelInferRequest(inputs=[typed]).SerializeToString())
    assert np.array_equal(request.inputs[0].data, X.data)


RAW_X = {"name": "x", "datatype": "FP32", "shape": [1]}
CONTRADICTIONS = {
    "raw and typed": ModelInferRequest(
        inputs=[Input(**RAW_X, contents=InferTensorContents(fp32_contents=[1]))],
        raw_input_contents=[bytes(4)],
    ),
    "fewer raw contents than inputs": ModelInferRequest(
        inputs=[Input(**RAW_X), Input(name="y", datatype="FP32", shape=[1])],
        raw_input_contents=[bytes(4)],
    ),
    "more raw contents than inputs": ModelInferRequest(
        inputs=[Input(**RAW_X)], raw_input_contents=[bytes(4), b""]
    ),
    "an input twice": ModelInferRequest(
        inputs=[Input(**RAW_X), Input(**RAW_X)], raw_input_contents=[bytes(4), bytes(4)]
    ),
    "an output twice": ModelInferRequest(outputs=[Output(name="y"), Output(name="y")]),
    "typed values in another field": ModelInferRequest(
        inputs=[Input(**RAW_X, contents=InferTensorContents(int_contents=[1]))]
    ),
    "typed values in two fields": ModelInferRequest(
        inputs=[Input(**RAW_X, contents=InferTensorContents(fp32_contents=[1], int_contents=[1]))]
    ),
    "FP16 as typed values": ModelInferRequest(
        inputs=[Input(name="x", datatype="FP16", shape=[0], contents=InferTensorContents())]
    ),
    "too many inputs": ModelInferRequest(
        inputs=[Input(name=str(i), datatype="FP32", shape=[0]) for i in range(257)]
    ),
    "a parameter of the request": ModelInferRequest(
        parameters={"sequence_id": InferParameter(int64_param=1)}
    ),
    "a parameter of an input": ModelInferRequest(
        inputs=[Input(parameters={"shared_memory_region": InferParameter(string_param="r")})]
    ),
    "a parameter of an output": ModelInferRequest(
        outputs=[Output(name="y", parameters={"classification": InferParameter(int64_param=3)})]
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        decode_request(CONTRADICTIONS[name].SerializeToString())


def test_parameters_that_change_nothing_are_accepted() -> None:
    request = ModelInferRequest(parameters={"priority": InferParameter(uint64_param=1)})
    assert decode_request(request.SerializeToString()).inputs == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    for decode in (decode_request, decode_response):
        try:
            decode(data)
        except InputError:
            continue


def test_an_answer_with_wrong_bytes_is_refused() -> None:
    answer = ModelInferResponse(
        outputs=[ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[2])],
        raw_output_contents=[bytes(4)],
    )
    with pytest.raises(InputError, match="4 bytes"):
        decode_response(answer.SerializeToString())
