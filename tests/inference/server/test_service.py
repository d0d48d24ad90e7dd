"""The protocol, as any client of it meets the server: what works, and what each mistake becomes."""

from __future__ import annotations

import dataclasses
import gc
import io
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from onnx import TensorProto

from sealserve import __version__
from sealserve.attestation import ChallengeClaims, decode
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server.config import Limits
from sealserve.inference.wire import infer, names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.attestation_pb2 import GetEvidenceRequest, GetEvidenceResponse
from sealserve.inference.wire.infer import MAX_TENSORS
from support.attestation_simulated import machine_of
from support.server_case import (
    CALL_SECONDS,
    FIXED_TYPES,
    Served,
    doubler,
    echo,
    infer_request,
    loaded,
    lookup,
    one_node,
    root_of,
    until,
)

MARK = 31337.515625  # a value no message may hold
MARKED = np.array([[MARK, MARK]], "<f4").tobytes()


@pytest.fixture(scope="module")
def machine(simulated_root: SimulatedRoot) -> Machine:
    return machine_of(simulated_root)


@pytest.fixture(scope="module")
def served(machine: Machine) -> Iterator[Served]:
    models = [loaded(name, echo(kind)) for name, (kind, _) in FIXED_TYPES.items()]
    texts = loaded("BYTES", echo(TensorProto.STRING))
    two = loaded("FP32", echo(TensorProto.FLOAT, ("rows", 3)), "2")
    small = Limits(message_bytes=1 << 20)
    with Served(machine, *models, texts, two, loaded("lookup", lookup()), limits=small) as server:
        yield server


# ---- what works


def test_the_server_is_live_and_ready(served: Served) -> None:
    live = served.call(names.SERVER_LIVE, pb.ServerLiveRequest())
    assert pb.ServerLiveResponse.FromString(live).live
    ready = served.call(names.SERVER_READY, pb.ServerReadyRequest())
    assert pb.ServerReadyResponse.FromString(ready).ready


def test_the_server_says_who_it_is(served: Served) -> None:
    answer = served.call(names.SERVER_METADATA, pb.ServerMetadataRequest())
    told = pb.ServerMetadataResponse.FromString(answer)
    assert (told.name, told.version) == ("sealserve", __version__)
    assert list(told.extensions) == ["model_configuration", "model_repository", "statistics"]


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("FP32", "", True), ("FP32", "2", True), ("FP32", "3", False), ("absent", "", False)],
)
def test_a_model_that_is_served_is_ready(
    served: Served, name: str, version: str, ready: bool
) -> None:
    request = pb.ModelReadyRequest(name=name, version=version)
    answer = served.call(names.MODEL_READY, request)
    assert pb.ModelReadyResponse.FromString(answer).ready is ready


def test_a_model_says_what_it_takes_and_gives(served: Served) -> None:
    answer = served.call(names.MODEL_METADATA, pb.ModelMetadataRequest(name="FP32"))
    told = pb.ModelMetadataResponse.FromString(answer)
    assert (told.name, list(told.versions), told.platform) == (
        "FP32",
        ["1", "2"],
        "onnxruntime_onnx",
    )
    (x,), (y,) = told.inputs, told.outputs
    assert (x.name, x.datatype, list(x.shape)) == ("x", "FP32", [-1, 2])
    assert (y.name, y.datatype) == ("y", "FP32")


def elements(code: str, count: int) -> bytes:
    """Elements of every bit pattern, quiet and signalling NaN included; 0 and 1 for BOOL."""
    random = np.random.default_rng(7)
    if code == "?":
        return bytes(random.integers(0, 2, count, np.uint8))
    return random.bytes(count * np.dtype(code).itemsize)


@pytest.mark.parametrize("kind", FIXED_TYPES)
@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_raw_contents_of_every_type_come_back_bit_by_bit(
    served: Served, kind: str, rows: int
) -> None:
    data = elements(FIXED_TYPES[kind][1], 2 * rows)
    request = infer_request(kind, ("x", kind, (rows, 2), data))
    answer = pb.ModelInferResponse.FromString(served.call(names.MODEL_INFER, request))
    (y,) = answer.outputs
    assert (y.name, y.datatype, list(y.shape)) == ("y", kind, [rows, 2])
    assert list(answer.raw_output_contents) == [data]


TYPED = {
    "BOOL": ("bool_contents", [True, False]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 65535]),
    "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-32768, 32767]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
    "FP32": ("fp32_contents", [0.5, -2.0]),
    "FP64": ("fp64_contents", [0.1, -2.0]),
    "BYTES": ("bytes_contents", [b"", "Grüße".encode()]),
}


def typed_request(kind: str) -> pb.ModelInferRequest:
    field, values = TYPED[kind]
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=kind, shape=[1, 2])
    getattr(tensor.contents, field).extend(values)
    return pb.ModelInferRequest(model_name=kind, inputs=[tensor])


@pytest.mark.parametrize("kind", TYPED)
def test_typed_contents_are_taken_too(served: Served, kind: str) -> None:
    (y,) = served.infer(typed_request(kind)).outputs
    assert y.data.reshape(-1).tolist() == TYPED[kind][1]


@pytest.mark.parametrize("kind", ["FP16", "FP32", "FP64", "BF16"])
def test_no_number_is_lost_on_the_way(served: Served, kind: str) -> None:
    """NaN, infinities and zeros of both signs as they are; nothing is compared or rounded."""
    code = FIXED_TYPES[kind][1].replace("u", "f") if kind != "BF16" else "<u2"
    values = np.array([np.nan, -np.inf, -0.0, np.inf], np.float32)
    data = (values.view("<u4") >> 16).astype(code) if kind == "BF16" else values.astype(code)
    request = infer_request(kind, ("x", kind, (2, 2), data.tobytes()))
    answer = pb.ModelInferResponse.FromString(served.call(names.MODEL_INFER, request))
    assert list(answer.raw_output_contents) == [data.tobytes()]


def test_text_comes_back(served: Served) -> None:
    texts = [b"", "Grüße".encode(), b"x" * 70_000, b"."]
    data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    (y,) = served.infer(infer_request("BYTES", ("x", "BYTES", (2, 2), data))).outputs
    assert y.data.reshape(-1).tolist() == texts


def test_a_version_and_an_output_can_be_chosen_and_the_id_comes_back(served: Served) -> None:
    request = infer_request("FP32", ("x", "FP32", (1, 3), bytes(12)), version="2")
    request.outputs.add(name="y")
    request.id = "request 7"
    answer = served.infer(request)
    assert (answer.model, answer.version, answer.id) == ("FP32", "2", "request 7")
    assert [tensor.name for tensor in answer.outputs] == ["y"]


@pytest.mark.parametrize(
    "path_and_request",
    [
        (names.MODEL_METADATA, pb.ModelMetadataRequest(name="FP32")),
        (names.MODEL_READY, pb.ModelReadyRequest(name="FP32")),
        (names.MODEL_INFER, infer_request("FP32", ("x", "FP32", (1, 2), bytes(8)))),
    ],
    ids=lambda pair: pair[0].rpartition("/")[2],
)
def test_the_answer_repeats_the_root(served: Served, path_and_request: Any) -> None:
    call = served.start(*path_and_request, root_of("FP32"))
    call.result()
    assert (names.MODEL_ROOT_KEY, root_of("FP32").hex()) in call.trailing_metadata()


# ---- mistakes


@dataclass(frozen=True)
class Mistake:
    """A request that is refused, as what, and a word of what is said."""

    code: grpc.StatusCode
    says: str
    message: bytes


INVALID = grpc.StatusCode.INVALID_ARGUMENT


def good() -> pb.ModelInferRequest:
    return infer_request("FP32", ("x", "FP32", (1, 2), MARKED))


def wrong(
    says: str,
    change: Callable[[pb.ModelInferRequest], object],
    code: grpc.StatusCode = INVALID,
) -> Mistake:
    request = good()
    change(request)
    return Mistake(code, says, request.SerializeToString())


def set_to(field: str, value: object) -> Callable[[pb.ModelInferRequest], object]:
    """Change a field of the request's one input."""

    def change(request: pb.ModelInferRequest) -> None:
        if isinstance(value, list):
            getattr(request.inputs[0], field)[:] = value
        else:
            setattr(request.inputs[0], field, value)

    return change


def raw(*contents: bytes) -> Callable[[pb.ModelInferRequest], object]:
    def change(request: pb.ModelInferRequest) -> None:
        request.raw_input_contents[:] = contents

    return change


def parameter(name: str) -> Callable[[pb.ModelInferRequest], object]:
    return lambda request: setattr(request.parameters[name], "string_param", "s")


def one_more_input(request: pb.ModelInferRequest, name: str = "extra") -> None:
    request.inputs.add(name=name, datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(MARKED)


def no_input(request: pb.ModelInferRequest) -> None:
    del request.inputs[:]
    del request.raw_input_contents[:]


def many(request: pb.ModelInferRequest) -> None:
    for number in range(MAX_TENSORS):
        one_more_input(request, f"extra {number}")


def typed_beside_raw(request: pb.ModelInferRequest) -> None:
    request.inputs[0].contents.fp32_contents.extend([MARK, MARK])


def typed_elsewhere(request: pb.ModelInferRequest) -> None:
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp64_contents.extend([MARK, MARK])


def model_is(name: str, version: str = "") -> Callable[[pb.ModelInferRequest], object]:
    def change(request: pb.ModelInferRequest) -> None:
        request.model_name, request.model_version = name, version

    return change


NOT_FOUND = grpc.StatusCode.NOT_FOUND
MISTAKES = {
    "unknown model": wrong("no model 'absent'", model_is("absent"), NOT_FOUND),
    "unknown version": wrong("version '9'", model_is("FP32", "9"), NOT_FOUND),
    "no model": wrong("no model ''", model_is(""), NOT_FOUND),
    "a model's name of 100 KB": wrong("no model", model_is("n" * 100_000), NOT_FOUND),
    "unknown input": wrong("inputs are ['z']", set_to("name", "z")),
    "an input's name of 100 KB": wrong("inputs are", set_to("name", "é" * 50_000)),
    "missing input": wrong("inputs are []", no_input),
    "one input more": wrong("['extra', 'x']", one_more_input),
    "one input twice": wrong("named twice", lambda r: one_more_input(r, "x")),
    "too many inputs": wrong(f"at most {MAX_TENSORS}", many),
    "unknown output": wrong("no output 'z'", lambda r: r.outputs.add(name="z")),
    "one output twice": wrong(
        "named twice", lambda r: (r.outputs.add(name="y"), r.outputs.add(name="y"))
    ),
    "another type": wrong("the model takes FP32", set_to("datatype", "UINT32")),
    "no such type": wrong("not one of the protocol's", set_to("datatype", "FP128")),
    "no type": wrong("not one of the protocol's", set_to("datatype", "")),
    "another rank": wrong("has shape [2]", set_to("shape", [2])),
    "another width": wrong("has shape [2, 1]", set_to("shape", [2, 1])),
    "negative shape": wrong("negative dimension", set_to("shape", [-1, 2])),
    "overflowing shape": wrong("more than", set_to("shape", [2**62, 2**62])),
    "an empty dimension beside a huge one": wrong("more than", set_to("shape", [0, 2**62])),
    "33 dimensions": wrong("33 dimensions", set_to("shape", [1] * 33)),
    "shape larger than the bytes": wrong("needs 16", set_to("shape", [2, 2])),
    "one byte less": wrong("has 7 bytes", raw(MARKED[:-1])),
    "one byte more": wrong("has 9 bytes", raw(MARKED + b"x")),
    "no bytes": wrong("has 0 bytes", raw(b"")),
    "raw contents too many": wrong("2 raw contents for 1", raw(MARKED, MARKED)),
    "typed beside raw contents": wrong("beside raw contents", typed_beside_raw),
    "typed contents of another type": wrong("belongs into fp32_contents", typed_elsewhere),
    "neither typed nor raw contents": wrong("has 0 values", raw()),
    "shared memory": wrong("shared_memory_region", parameter("shared_memory_region")),
    "a sequence": wrong("sequence_id", parameter("sequence_id")),
    "a model file": wrong("'file:1/model.onnx'", parameter("file:1/model.onnx")),
    "a time to wait in words": wrong("'timeout' is microseconds", parameter("timeout")),
    "2 GiB announced": wrong("needs 2147483648", set_to("shape", [1 << 28, 2])),
    "not protobuf": Mistake(INVALID, "", b"\xff" * 40),
    "cut in the middle": Mistake(INVALID, "message ends", good().SerializeToString()[:-1]),
    "a group": Mistake(INVALID, "wire type 3", b"\x0b\x0c"),
    "bytes that are no text": Mistake(
        INVALID,
        "not UTF-8",
        infer_request(
            "BYTES", ("x", "BYTES", (1, 2), b"\x04\0\0\0\xff31337\x04"[:8] + b"\0\0\0\0")
        ).SerializeToString(),
    ),
    "a text that runs past the end": Mistake(
        INVALID,
        "runs past the end",
        infer_request("BYTES", ("x", "BYTES", (1, 2), b"\xff\0\0\x0031337")).SerializeToString(),
    ),
    "a BOOL that is neither": Mistake(
        INVALID,
        "other than 0 and 1",
        infer_request("BOOL", ("x", "BOOL", (1, 2), b"\x01\x07")).SerializeToString(),
    ),
    "a number the model refuses": Mistake(
        INVALID,
        "does not accept",
        infer_request(
            "lookup", ("x", "INT64", (1,), np.array([31337], "<i8").tobytes())
        ).SerializeToString(),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_and_nothing_of_a_tensor_comes_back(
    served: Served,
    mistake: Mistake,
    capfd: pytest.CaptureFixture[str],
    server_log: io.StringIO,
) -> None:
    call = served.start(names.MODEL_INFER, mistake.message)
    assert call.code() is mistake.code
    assert mistake.says in call.details()
    told = f"{call.details()} {call.trailing_metadata()} {capfd.readouterr()}"
    told += server_log.getvalue()
    assert "31337" not in told
    assert len(call.details()) < 600
    assert served.infer(good()).outputs  # and the server goes on


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_stream_is_told_in_the_same_words_and_the_stream_goes_on(
    served: Served, mistake: Mistake
) -> None:
    call = served.start(names.MODEL_INFER, mistake.message)
    refused, answered = map(
        pb.ModelStreamInferResponse.FromString, served.stream([mistake.message, good()])
    )
    assert refused.error_message == call.details()
    assert not refused.infer_response.outputs
    assert answered.error_message == ""
    assert answered.infer_response.raw_output_contents == [MARKED]


def test_a_message_above_the_limit_is_refused_by_its_length(served: Served) -> None:
    request = infer_request("FP32", ("x", "FP32", (1 << 17, 2), bytes(1 << 20)))
    call = served.start(names.MODEL_INFER, request)
    assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.infer(good()).outputs


def test_a_message_just_below_the_limit_is_answered(served: Served) -> None:
    rows = (1 << 17) - 16
    request = infer_request("FP32", ("x", "FP32", (rows, 2), bytes(8 * rows)))
    assert served.infer(request).outputs[0].shape == (rows, 2)


@pytest.mark.parametrize("quick", [False, True], ids=["in a thread", "at once"])
def test_an_answer_above_the_limit_is_not_kept(machine: Machine, quick: bool) -> None:
    """A few bytes may ask for any number of them, and an answer waits until it is taken."""
    zeros = one_node("ConstantOfShape", [("x", TensorProto.INT64, (1,))], ("y", TensorProto.FLOAT))
    model = dataclasses.replace(loaded("zeros", zeros), run_seconds=0.0 if quick else math.inf)
    limits = Limits(message_bytes=64 * 1024)

    def asking(count: int) -> pb.ModelInferRequest:
        return infer_request("zeros", ("x", "INT64", (1,), count.to_bytes(8, "little")))

    with Served(machine, model, limits=limits) as server:
        assert server.infer(asking(16_000)).outputs[0].shape == (16_000,)
        call = server.start(names.MODEL_INFER, asking(64_000))
        assert call.code() is INVALID
        assert call.details() == "the answer has more than 65536 bytes, which are the most"
        refused, answered = map(
            pb.ModelStreamInferResponse.FromString, server.stream([asking(64_000), asking(1)])
        )
        assert refused.error_message == call.details()
        assert answered.error_message == ""


SMALL_CALLS = [
    names.SERVER_LIVE,
    names.SERVER_READY,
    names.SERVER_METADATA,
    names.MODEL_READY,
    names.MODEL_METADATA,
    names.MODEL_CONFIG,
    names.MODEL_STATISTICS,
    names.REPOSITORY_INDEX,
    names.GET_EVIDENCE,
]


@pytest.mark.parametrize("path", SMALL_CALLS)
def test_every_other_call_refuses_what_is_no_message(served: Served, path: str) -> None:
    assert served.start(path, b"\xff" * 40).code() is INVALID


@pytest.mark.parametrize("path", SMALL_CALLS)
def test_every_other_call_refuses_a_long_message(served: Served, path: str) -> None:
    unknown_fields = b"\x78\0" * (1 << 15)
    call = served.start(path, unknown_fields + b"\x78\0")
    assert call.code() is INVALID
    assert "has 65538 bytes" in call.details()


@pytest.mark.parametrize(
    "path",
    [
        f"/{names.INFERENCE_SERVICE}/SystemSharedMemoryRegister",
        f"/{names.INFERENCE_SERVICE}/TraceSetting",
        "/inference.Other/ModelInfer",
        "/sealserve.v1.Attestation/",
    ],
)
def test_there_are_no_other_calls(served: Served, path: str) -> None:
    assert served.start(path, b"").code() is grpc.StatusCode.UNIMPLEMENTED


# ---- roots


ABOUT_A_MODEL = {
    "ModelReady": (names.MODEL_READY, pb.ModelReadyRequest(name="FP32")),
    "ModelMetadata": (names.MODEL_METADATA, pb.ModelMetadataRequest(name="FP32")),
    "ModelConfig": (names.MODEL_CONFIG, pb.ModelConfigRequest(name="FP32")),
    "ModelStatistics": (names.MODEL_STATISTICS, pb.ModelStatisticsRequest(name="FP32")),
    "ModelInfer": (names.MODEL_INFER, good()),
}


@pytest.mark.parametrize("path_and_request", ABOUT_A_MODEL.values(), ids=ABOUT_A_MODEL.keys())
@pytest.mark.parametrize(
    "roots",
    [[bytes(32)], [root_of("FP32", "2")], [root_of("FP32"), bytes(32)], ["not a root"]],
    ids=["zero", "another version's", "the right and a wrong one", "no root"],
)
def test_another_root_is_refused_and_the_right_one_named(
    served: Served, path_and_request: Any, roots: list[bytes | str]
) -> None:
    call = served.start(*path_and_request, *roots)
    assert call.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert root_of("FP32").hex() in call.details()
    assert (names.MODEL_ROOT_KEY, root_of("FP32").hex()) in call.trailing_metadata()


def test_a_root_is_compared_before_the_tensors_are_looked_at(served: Served) -> None:
    """The same contradiction in a tensor is told only to whoever names the right root."""
    request = good()
    set_to("shape", [-1, -1])(request)
    right, other = (
        served.start(names.MODEL_INFER, request, root) for root in (root_of("FP32"), bytes(32))
    )
    assert right.code() is INVALID
    assert other.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_server_that_requires_a_root_takes_no_call_without(machine: Machine) -> None:
    with Served(machine, loaded("FP32", echo(TensorProto.FLOAT)), require_root=True) as server:
        for path, request in ABOUT_A_MODEL.values():
            assert server.start(path, request).code() is grpc.StatusCode.FAILED_PRECONDITION
            server.call(path, request, root_of("FP32"))
        server.call(names.SERVER_READY, b"")


# ---- evidence


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_nonce_has_32_bytes(served: Served, size: int) -> None:
    call = served.start(names.GET_EVIDENCE, GetEvidenceRequest(nonce=bytes(size)))
    assert call.code() is INVALID
    assert f"has {size} bytes" in call.details()


def test_evidence_names_the_nonce_the_configuration_and_every_root(served: Served) -> None:
    nonce = bytes(range(32))
    answer = GetEvidenceResponse.FromString(
        served.call(names.GET_EVIDENCE, GetEvidenceRequest(nonce=nonce))
    )
    claims = ChallengeClaims.parse(decode(answer.evidence).claims)
    assert nonce in claims.nonces
    assert claims.config == served.config.sha256()
    assert claims.spki == served.identity.spki_sha256
    assert set(claims.roots) == {
        bytes.fromhex(root) for model in served.config.models for root in model.roots
    }
    assert answer.next_certificate == served.identity.certificates.next


# ---- who does the work


class Decoders:
    """Where contents are turned into tensors and back: the names of the threads, call by call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        for name in ("from_raw", "from_typed", "to_raw"):
            monkeypatch.setattr(infer, name, self._noting(getattr(infer, name)))

    def _noting(self, decoder: Callable[..., Any]) -> Callable[..., Any]:
        def decode(*arguments: Any) -> Any:
            self.threads.append(threading.current_thread().name)
            return decoder(*arguments)

        return decode


TEXTS = infer_request("BYTES", ("x", "BYTES", (1, 2), bytes(8)))


@pytest.mark.parametrize("request_", [TEXTS, good(), typed_request("BYTES")])
def test_contents_are_none_of_the_event_loops_work(
    served: Served, request_: pb.ModelInferRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoders = Decoders(monkeypatch)
    served.call(names.MODEL_INFER, request_)
    assert len(decoders.threads) == 2
    assert all(name.startswith("sealserve-run") for name in decoders.threads)


@pytest.mark.parametrize("field", ["raw_input_contents", "bytes_contents"])
def test_contents_the_model_does_not_take_are_not_even_read(
    served: Served, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = infer_request("FP32", ("x", "BYTES", (1 << 16, 2), bytes(8 << 16)))
    if field == "bytes_contents":
        del request.raw_input_contents[:]
        request.inputs[0].contents.bytes_contents.extend([b""] * (2 << 16))
    decoders = Decoders(monkeypatch)
    call = served.start(names.MODEL_INFER, request)
    assert call.code() is INVALID
    assert "the model takes FP32" in call.details()
    assert decoders.threads == []


def test_contents_wait_for_their_turn_unread(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = doubler()
    session: Any = model.session
    with Served(machine, model, limits=Limits(running=1, waiting=1)) as server:
        session.gate.clear()
        decoders = Decoders(monkeypatch)
        calls = [server.start(names.MODEL_INFER, doubling()) for _ in range(2)]
        session.started.wait()
        until(lambda: server.admitted == 2)
        assert len(decoders.threads) == 1
        session.gate.set()
        assert all(call.result() for call in calls)


ENDS = {
    "an answer": (good(), grpc.StatusCode.OK),
    "an unknown model": (infer_request("absent"), grpc.StatusCode.NOT_FOUND),
    "another type": (infer_request("FP32", ("x", "INT8", (1, 2), bytes(2))), INVALID),
    "contents of another length": (infer_request("FP32", ("x", "FP32", (1, 2), b"")), INVALID),
    "a number the model refuses": (
        infer_request("lookup", ("x", "INT64", (1,), np.array([9], "<i8").tobytes())),
        INVALID,
    ),
}


@pytest.mark.parametrize(("request_", "code"), ENDS.values(), ids=ENDS.keys())
def test_a_message_goes_with_its_call(
    served: Served,
    request_: pb.ModelInferRequest,
    code: grpc.StatusCode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that refers to itself would keep a message until the next garbage collection."""
    seen: list[weakref.ref[Any]] = []

    class Incoming(infer.IncomingRequest):
        def __init__(self, data: bytes) -> None:
            seen.append(weakref.ref(self))
            super().__init__(data)

    monkeypatch.setattr("sealserve.inference.server.service.IncomingRequest", Incoming)
    gc.disable()
    try:
        assert served.start(names.MODEL_INFER, request_).code() is code
        (incoming,) = seen
        until(lambda: incoming() is None)
    finally:
        gc.enable()


# ---- limits in time and number


def doubling() -> pb.ModelInferRequest:
    return infer_request("doubler", ("x", "FP32", (1, 3), bytes(12)))


def test_one_prediction_too_many_is_told_to_come_back(machine: Machine) -> None:
    model = doubler()
    gate = model.session.gate  # type: ignore[attr-defined]
    with Served(machine, model, limits=Limits(running=1, waiting=1)) as server:
        gate.clear()
        admitted = [server.start(names.MODEL_INFER, doubling()) for _ in range(2)]
        until(lambda: server.admitted == 2)
        call = server.start(names.MODEL_INFER, doubling())
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ("grpc-retry-pushback-ms", "100") in call.trailing_metadata()
        server.call(names.SERVER_LIVE, b"")  # the event loop does not wait for the model
        gate.set()
        assert all(call.result() for call in admitted)


def test_a_prediction_that_takes_too_long_is_given_up(machine: Machine) -> None:
    model = doubler()
    gate = model.session.gate  # type: ignore[attr-defined]
    with Served(machine, model, limits=Limits(request_seconds=0.01)) as server:
        gate.clear()
        call = server.start(names.MODEL_INFER, doubling())
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert call.details() == "the request took too long"
        gate.set()


@pytest.mark.parametrize("path", [names.MODEL_INFER, *SMALL_CALLS])
def test_a_message_that_does_not_come_is_waited_for_only_so_long(
    machine: Machine, path: str
) -> None:
    """What never comes as a whole cannot keep a place for ever."""
    with Served(machine, doubler(), limits=Limits(request_seconds=0.05)) as server:
        never = threading.Event()

        def nothing() -> Iterator[bytes]:
            never.wait()
            yield from ()

        call = server.channel.stream_unary(path).future(nothing(), timeout=CALL_SECONDS)
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert call.details() == "the request took too long"
        never.set()
        assert server.start(names.SERVER_LIVE, b"").result()


@pytest.mark.parametrize("path", [names.MODEL_INFER, *SMALL_CALLS])
def test_a_call_without_a_message(served: Served, path: str) -> None:
    call = served.channel.stream_unary(path).future(iter(()), timeout=CALL_SECONDS)
    assert call.code() is INVALID


def test_a_callers_own_deadline_takes_its_waiting_prediction_with_it(machine: Machine) -> None:
    model = doubler()
    session: Any = model.session
    with Served(machine, model, limits=Limits(running=1, waiting=1)) as server:
        session.gate.clear()
        running = server.start(names.MODEL_INFER, doubling())
        session.started.wait()
        infer = server.channel.unary_unary(names.MODEL_INFER)
        waiting = infer.future(doubling().SerializeToString(), timeout=0.5)
        until(lambda: server.admitted == 2)
        assert waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: server.admitted == 1)  # the server's clock runs out a little later
        session.gate.set()
        running.result()
        assert session.runs == 1


def test_what_nobody_foresaw_is_internal_and_quotes_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, server_log: io.StringIO
) -> None:
    model = doubler()

    def run(request: Any) -> Any:
        raise KeyError(f"the tensor held {MARK}")

    monkeypatch.setattr(model.session, "run", run)
    with Served(machine, model) as server:
        call = server.start(names.MODEL_INFER, doubling())
        assert call.code() is grpc.StatusCode.INTERNAL
        assert call.details() == "the server failed on this request"
    assert '"error": "KeyError"' in server_log.getvalue()
    assert "31337" not in server_log.getvalue()


# ---- health and reflection


def test_health_knows_the_server_and_its_two_services(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    for service in ("", names.INFERENCE_SERVICE, names.ATTESTATION_SERVICE):
        told = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert told.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(health_pb2.HealthCheckRequest(service="other"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_says_when_a_server_is_being_stopped(machine: Machine) -> None:
    model = doubler()
    gate = model.session.gate  # type: ignore[attr-defined]
    services = ("", names.INFERENCE_SERVICE, names.ATTESTATION_SERVICE)
    with Served(machine, model) as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        watched = [stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in services]
        states = [[next(watch).status] for watch in watched]
        gate.clear()
        call = server.start(names.MODEL_INFER, doubling())  # keeps the server for a while
        until(lambda: server.admitted == 1)
        stopping = server.loop.begin(server.server.stop())
        for watch, seen in zip(watched, states, strict=True):
            seen.append(next(watch).status)
            watch.cancel()  # or the server would wait for it as long as it waits for any call
        gate.set()
        assert call.result()
        assert stopping.result()
    serving, not_serving = 1, 2
    assert states == [[serving, not_serving]] * 3


def test_reflection_tells_the_services_and_their_calls(served: Served) -> None:
    database = ProtoReflectionDescriptorDatabase(served.channel)
    assert set(database.get_services()) == {
        names.INFERENCE_SERVICE,
        names.ATTESTATION_SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    file = database.FindFileContainingSymbol(names.INFERENCE_SERVICE)
    (service,) = file.service
    assert [method.name for method in service.method] == [
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "ModelStreamInfer",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    ]
