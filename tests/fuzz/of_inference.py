"""Requests and answers of the prediction protocol, one by one and as streams."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from sealserve.inference.server.calls import parse
from sealserve.inference.server.registry import UnknownModelError
from sealserve.inference.server.repository import Entry, encode_index
from sealserve.inference.server.statistics import Counters, encode_statistics
from sealserve.inference.server.streaming import Streams
from sealserve.inference.server.table import FIRST_WORKER, Table
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.infer import (
    IncomingRequest,
    InferRequest,
    InferResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    encode_stream_response,
)
from sealserve.inference.wire.spec import TensorSpec
from sealserve.inference.wire.tensor import Tensor
from sealserve.native.errors import InputError
from support.fuzz_mutations import Target

NUMBERS, TEXTS = TensorSpec("x", "FP32", (-1, 2)), TensorSpec("t", "BYTES", (-1,))
X = Tensor("x", "FP32", (1, 2), np.array([[1, 2]], np.float32))
T = Tensor("t", "BYTES", (2,), np.array([b"", b"two"], np.object_))
RAW = encode_request(InferRequest("m", "1", (X, T), ("x",), "id"))
FRAME_BYTES = 4  # of a message's length, in front of it: gRPC's framing without its flag


def typed() -> bytes:
    request = pb.ModelInferRequest(model_name="m", id="7")
    request.parameters["timeout"].int64_param = 1
    x = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    x.contents.fp32_contents.extend([1, 2])
    t = request.inputs.add(name="t", datatype="BYTES", shape=[1])
    t.contents.bytes_contents.append(b"one")
    return request.SerializeToString()


def checked(data: bytes) -> IncomingRequest:
    incoming = IncomingRequest(data)
    incoming.check_against([NUMBERS, TEXTS], [NUMBERS, TEXTS])
    return incoming


def agrees_with_protobuf(data: bytes, request: InferRequest) -> None:
    """Where protobuf reads the same bytes, it reads the same."""
    with suppress(DecodeError):
        read = pb.ModelInferRequest.FromString(data)
        assert (read.model_name, read.id) == (request.model, request.id)
        assert [given.name for given in read.inputs] == [given.name for given in request.inputs]
        if read.raw_input_contents:
            written = encode_request(request)
            again = pb.ModelInferRequest.FromString(written)
            assert list(again.raw_input_contents) == list(read.raw_input_contents)


def prediction() -> Target:
    def run(data: bytes) -> None:
        request = checked(data).decode()
        agrees_with_protobuf(data, request)
        assert encode_request(decode_request(encode_request(request))) == encode_request(request)

    return Target(run, [RAW, typed()], (InputError,))


def prediction_answer() -> Target:
    def run(data: bytes) -> None:
        answer = decode_response(data)
        assert encode_response(decode_response(encode_response(answer))) == encode_response(answer)

    return Target(run, [encode_response(InferResponse("m", "1", (X, T), "id"))], (InputError,))


def repository_request() -> Target:
    """The messages of all other calls, each of which any bytes are parsed as."""
    messages = (
        *(pb.ModelReadyRequest, pb.ModelMetadataRequest, pb.ModelConfigRequest),
        *(pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest),
    )

    def run(data: bytes) -> None:
        for message in messages:
            with suppress(InputError):
                parse(message(), data)
        with suppress(UnknownModelError):
            asked = pb.ModelStatisticsRequest()
            parse(asked, data)
            encode_statistics(asked, [("m", "1", Counters())])
        index = pb.RepositoryIndexRequest()
        parse(index, data)
        encode_index(index, [Entry("m", "1")])

    return Target(run, [pb.RepositoryIndexRequest(ready=True).SerializeToString()], (InputError,))


def framed(*messages: bytes) -> bytes:
    return b"".join(len(one).to_bytes(FRAME_BYTES, "big") + one for one in messages)


def messages_of(data: bytes) -> list[bytes]:
    """What is framed; the last one may be cut off."""
    found, at = [], 0
    while len(data) - at >= FRAME_BYTES:
        end = at + FRAME_BYTES + int.from_bytes(data[at : at + FRAME_BYTES], "big")
        found.append(data[at + FRAME_BYTES : end])
        at = end
    return found


class Call:
    """What a stream needs of gRPC: messages to read, and what was written."""

    def __init__(self, messages: list[bytes]) -> None:
        self._messages = iter(messages)
        self.written: list[bytes] = []

    async def read(self) -> Any:
        return next(self._messages, grpc.aio.EOF)

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self.written.append(data)

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def trailing_metadata(self) -> tuple[()]:
        return ()


async def gives_back(incoming: IncomingRequest) -> bytes:
    """A model that answers with its inputs."""
    incoming.check_against([NUMBERS, TEXTS], [NUMBERS, TEXTS])
    await asyncio.sleep(0)
    request = incoming.decode()
    return encode_stream_response(InferResponse("m", "1", request.inputs, request.id))


def prediction_stream() -> Target:
    """Whatever is in a stream, there is one answer to each message, and nothing is left over."""
    slot = Table([], 1).slot(FIRST_WORKER)

    async def serve(messages: list[bytes]) -> list[bytes]:
        streams, call = Streams(seconds=60, requests=3, slot=slot), Call(messages)
        await streams.serve(call, gives_back)
        assert (streams._taken, streams._open) == (0, set())
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return call.written

    def run(data: bytes) -> None:
        messages = messages_of(data)
        written = asyncio.run(serve(messages))
        assert len(written) == len(messages)
        refused = 0
        for answer in map(pb.ModelStreamInferResponse.FromString, written):
            assert "the server failed" not in answer.error_message
            assert answer.infer_response.parameters["triton_final_response"].bool_param
            refused += bool(answer.error_message)
        if refused:
            raise InputError(f"{refused} of {len(messages)} requests were refused")

    return Target(run, [framed(RAW, typed(), RAW), framed(*[RAW] * 20)], (InputError,))
