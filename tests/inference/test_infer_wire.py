"""ModelInfer's messages against protobuf's own reading; requests that contradict themselves."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.inference.wire import infer, message
from sealserve.inference.wire.infer import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_TENSOR_FIELDS,
    MAX_TENSORS,
    IncomingRequest,
    InferRequest,
    InferResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    encode_stream_error,
    encode_stream_response,
)
from sealserve.inference.wire.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from sealserve.inference.wire.spec import TensorSpec
from sealserve.inference.wire.tensor import MAX_TEXTS, Tensor
from sealserve.native.errors import InputError

INPUTS = ModelInferRequest.INPUTS_FIELD_NUMBER
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


RAW_X: Any = {"name": "x", "datatype": "FP32", "shape": [1]}
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


HARMLESS = ModelInferRequest(
    parameters={
        "priority": InferParameter(uint64_param=1),
        "binary_data_output": InferParameter(bool_param=False),
        "triton_enable_empty_final_response": InferParameter(bool_param=True),
    },
    inputs=[
        Input(
            name="x",
            datatype="FP32",
            shape=[1],
            parameters={"binary_data_size": InferParameter(int64_param=4)},
        )
    ],
    outputs=[Output(name="y", parameters={"binary_data": InferParameter(bool_param=True)})],
    raw_input_contents=[bytes(4)],
)


def test_parameters_that_change_nothing_are_accepted() -> None:
    assert decode_request(HARMLESS.SerializeToString()).outputs == ("y",)


@pytest.mark.parametrize("where", ["the request", "an input", "an output"])
def test_a_parameter_in_another_place_is_refused(where: str) -> None:
    request = ModelInferRequest.FromString(HARMLESS.SerializeToString())
    places = {
        "the request": request,
        "an input": request.inputs[0],
        "an output": request.outputs[0],
    }
    name = "binary_data" if where == "an input" else "binary_data_size"
    places[where].parameters[name].int64_param = 4
    with pytest.raises(InputError, match=f"parameter '{name}' is not supported"):
        decode_request(request.SerializeToString())


def waiting(value: InferParameter) -> IncomingRequest:
    request = ModelInferRequest(parameters={"timeout": value})
    return IncomingRequest(request.SerializeToString())


def test_a_request_says_how_long_it_would_wait() -> None:
    assert IncomingRequest(b"").timeout_seconds == 0
    request = waiting(InferParameter(int64_param=1_500_000))
    request.check_itself()
    assert request.timeout_seconds == 1.5


TIMEOUTS = {
    "below 0": InferParameter(int64_param=-1),
    "text": InferParameter(string_param="1 s"),
    "a fraction": InferParameter(double_param=0.5),
    "nothing": InferParameter(),
}


@pytest.mark.parametrize("value", TIMEOUTS.values(), ids=TIMEOUTS.keys())
def test_a_time_to_wait_is_microseconds(value: InferParameter) -> None:
    with pytest.raises(InputError, match="'timeout' is microseconds"):
        waiting(value).check_itself()


def test_typed_contents_in_several_pieces_are_one() -> None:
    """protobuf merges a field that is there twice, as does whoever concatenates messages."""
    cases: Any = (("BYTES", "bytes_contents", [b"1", b"22"]), ("INT32", "int_contents", [1, -2]))
    for datatype, field, values in cases:
        whole = Input(name="x", datatype=datatype, shape=[2]).SerializeToString()
        for value in values:
            whole += Input(contents=InferTensorContents(**{field: [value]})).SerializeToString()
        (x,) = decode_request(message.join(b"", INPUTS, [memoryview(whole)])).inputs
        assert x.data.tolist() == values


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    for decode in (decode_request, decode_response):
        try:
            decode(data)
        except InputError:
            continue


def test_an_answer_of_a_stream_is_what_protobuf_reads() -> None:
    response = InferResponse("m", "2", (X, Y), "id-1")
    read = ModelStreamInferResponse.FromString(encode_stream_response(response))
    inner = read.infer_response
    assert read.error_message == ""
    assert inner.parameters["triton_final_response"].bool_param
    inner.ClearField("parameters")
    assert inner.SerializeToString() == encode_response(response)


def test_an_error_of_a_stream_tells_its_request() -> None:
    data = encode_stream_error("no such model", model="m", version="2", id="id-1")
    read = ModelStreamInferResponse.FromString(data)
    inner = read.infer_response
    assert read.error_message == "no such model"
    assert (inner.model_name, inner.model_version, inner.id) == ("m", "2", "id-1")
    assert inner.parameters["triton_final_response"].bool_param
    assert not inner.outputs


def test_an_answer_with_wrong_bytes_is_refused() -> None:
    answer = ModelInferResponse(
        outputs=[ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[2])],
        raw_output_contents=[bytes(4)],
    )
    with pytest.raises(InputError, match="4 bytes"):
        decode_response(answer.SerializeToString())


# ---- what a message costs before anybody knows whom it is for


def an_input(inside: bytes) -> bytes:
    return message.join(b"", INPUTS, [memoryview(inside)])


DEAR = {
    "fields": (MAX_FIELDS + 1) * b"\x08\0",
    "raw contents": 4 * MAX_TENSORS * b"\x3a\0" + b"\x3a\0",
    "inputs": (MAX_TENSORS + 1) * an_input(b""),
    "fields of an input": an_input((MAX_TENSOR_FIELDS + 1) * b"\x08\0"),
    "typed contents of an input": an_input((MAX_TENSOR_FIELDS + 1) * b"\x2a\0"),
    "parameters of an input": an_input(message.join(b"", 4, [memoryview(b"\x0a\0" * (1 << 17))])),
    "a shape": an_input(message.join(b"", 3, [memoryview(bytes(1 << 18))])),
    "a model's name": ModelInferRequest(model_name="m" * MAX_HEAD_BYTES).SerializeToString(),
    "parameters": b"".join(
        ModelInferRequest(parameters={f"{n:>300}": InferParameter()}).SerializeToString()
        for n in range(MAX_FIELDS)
    ),
}


@pytest.mark.parametrize("data", DEAR.values(), ids=DEAR.keys())
def test_a_message_of_much_beside_contents_is_refused_unread(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(infer, "_parse", lambda head, data: parsed.append(data))
    with pytest.raises(InputError):
        IncomingRequest(data)
    assert parsed == []


def test_as_many_fields_as_there_may_be() -> None:
    shape = 32 * b"\x18\x01"  # one field for each, as protobuf 2 wrote it
    names = [f"{n:>400}" for n in range(MAX_TENSORS)]
    heads = [Input(name=name, datatype="FP32").SerializeToString() + shape for name in names]
    data = b"".join(an_input(head) + b"\x3a\x04\0\0\0\0" for head in heads)
    assert [x.name for x in decode_request(data).inputs] == names


SPEC = TensorSpec("x", "FP32", (-1, 2))
MISFITS = {
    "name": Input(name="y", datatype="FP32", shape=[1, 2]),
    "type": Input(name="x", datatype="BYTES", shape=[1, 2]),
    "rank": Input(name="x", datatype="FP32", shape=[2]),
    "width": Input(name="x", datatype="FP32", shape=[1, 3]),
}


@pytest.mark.parametrize("misfit", MISFITS.values(), ids=MISFITS.keys())
def test_what_a_model_does_not_take_is_refused_before_contents_are_read(misfit: Input) -> None:
    request = ModelInferRequest(inputs=[misfit], raw_input_contents=[b"no contents of any type"])
    incoming = IncomingRequest(request.SerializeToString())
    with pytest.raises(InputError, match=r"the model"):
        incoming.check_against([SPEC], [])


def test_an_output_a_model_does_not_give() -> None:
    request = ModelInferRequest(outputs=[Output(name="y")])
    incoming = IncomingRequest(request.SerializeToString())
    with pytest.raises(InputError, match="no output 'y'"):
        incoming.check_against([], [SPEC])


BYTES_X: Any = {"name": "x", "datatype": "BYTES"}


@pytest.mark.parametrize("raw", [[], [b""]], ids=["typed", "raw"])
def test_more_texts_than_any_model_takes(raw: list[bytes]) -> None:
    request = ModelInferRequest(
        inputs=[Input(**BYTES_X, shape=[MAX_TEXTS + 1])], raw_input_contents=raw
    )
    with pytest.raises(InputError, match=f"may have {MAX_TEXTS}"):
        IncomingRequest(request.SerializeToString()).check_itself()


def test_texts_are_counted_before_there_is_an_object_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = InferTensorContents(bytes_contents=[b""] * 1000)
    request = ModelInferRequest(inputs=[Input(**BYTES_X, shape=[999], contents=texts)])
    made: list[object] = []
    monkeypatch.setattr(infer, "from_typed", lambda *values: made.append(values))
    with pytest.raises(InputError, match="more than 999 fields"):
        decode_request(request.SerializeToString())
    assert made == []


HUGE = 2**31  # bytes, which a shape announces and nobody sent
LIES = {
    "raw numbers": Input(name="x", datatype="FP32", shape=[HUGE // 4]),
    "raw texts": Input(name="x", datatype="BYTES", shape=[MAX_TEXTS]),
    "typed numbers": Input(name="x", datatype="FP32", shape=[HUGE // 4],
                           contents=InferTensorContents(fp32_contents=[1])),
    "typed texts": Input(name="x", datatype="BYTES", shape=[MAX_TEXTS],
                         contents=InferTensorContents(bytes_contents=[b""])),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_what_is_announced_and_not_there_costs_nothing(lie: str) -> None:
    raw = [bytes(4)] if lie.startswith("raw") else []
    data = ModelInferRequest(inputs=[LIES[lie]], raw_input_contents=raw).SerializeToString()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"needs|too few"):
            decode_request(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_every_text_says_how_long_it_is() -> None:
    """The length of an element may lie, by one or by 4 GiB."""
    for raw in (b"\1\0\0", b"\1\0\0\0", b"\2\0\0\0a", b"\xff\xff\xff\xffa", b"\0\0\0\0a"):
        request = ModelInferRequest(inputs=[Input(**BYTES_X, shape=[1])], raw_input_contents=[raw])
        with pytest.raises(InputError, match=r"too few|runs past|after its last"):
            decode_request(request.SerializeToString())
