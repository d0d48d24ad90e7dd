"""ModelInfer's request and answer, between bytes and tensors; the same code on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError

from sealserve.inference.wire import message
from sealserve.inference.wire.datatypes import data_type
from sealserve.inference.wire.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from sealserve.inference.wire.tensor import Tensor, from_raw, from_typed, to_raw
from sealserve.native.errors import InputError

# More named tensors than any model has; keeps the work per message bounded by its length.
MAX_TENSORS = 256
_RAW_INPUTS = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_RAW_OUTPUTS = ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
# Parameters that ask for nothing a result could differ by. Any other is refused: to ignore, say,
# `classification` or a shared memory region would answer another question than the one asked.
_IGNORED_PARAMETERS = frozenset(
    {"priority", "binary_data", "binary_data_output", "triton_enable_empty_final_response"}
)


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """outputs: names of the outputs wanted, empty for all of them."""

    model: str
    version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class InferResponse:
    model: str
    version: str
    outputs: tuple[Tensor, ...]
    id: str = ""


class _WireTensor(Protocol):
    name: str
    datatype: str

    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def contents(self) -> InferTensorContents: ...
    def HasField(self, field_name: str) -> bool: ...  # noqa: N802  protobuf's name


def encode_request(request: InferRequest) -> bytes:
    """One ModelInferRequest with raw contents."""
    head = ModelInferRequest(
        model_name=request.model,
        model_version=request.version,
        id=request.id,
        inputs=[
            ModelInferRequest.InferInputTensor(name=t.name, datatype=t.datatype, shape=t.shape)
            for t in request.inputs
        ],
        outputs=[ModelInferRequest.InferRequestedOutputTensor(name=n) for n in request.outputs],
    )
    return message.join(head.SerializeToString(), _RAW_INPUTS, [to_raw(t) for t in request.inputs])


class IncomingRequest:
    """A ModelInferRequest whose model is known and whose tensors nobody has looked at yet.

    Raises InputError when the bytes are not one.
    """

    def __init__(self, data: bytes) -> None:
        head_bytes, self._raw = message.split(data, _RAW_INPUTS)
        self._head = ModelInferRequest()
        _parse(self._head, head_bytes)

    @property
    def model(self) -> str:
        return self._head.model_name

    @property
    def version(self) -> str:
        return self._head.model_version

    def decode(self) -> InferRequest:
        """The whole request; its tensors are views into the message where alignment allows.

        Raises InputError when shapes, types, names and bytes disagree.
        """
        head = self._head
        _refuse_parameters(head.parameters)
        for wanted in head.outputs:
            _refuse_parameters(wanted.parameters)
        for given in head.inputs:
            _refuse_parameters(given.parameters)
        _unique("output", [output.name for output in head.outputs])
        return InferRequest(
            model=head.model_name,
            version=head.model_version,
            inputs=_tensors("input", head.inputs, self._raw),
            outputs=tuple(output.name for output in head.outputs),
            id=head.id,
        )


def decode_request(data: bytes) -> InferRequest:
    """One ModelInferRequest; InputError for anything that is not one, or contradicts itself."""
    return IncomingRequest(data).decode()


def encode_response(response: InferResponse) -> bytes:
    """One ModelInferResponse with raw contents."""
    head = ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        outputs=[
            ModelInferResponse.InferOutputTensor(name=t.name, datatype=t.datatype, shape=t.shape)
            for t in response.outputs
        ],
    )
    raw = [to_raw(tensor) for tensor in response.outputs]
    return message.join(head.SerializeToString(), _RAW_OUTPUTS, raw)


def decode_response(data: bytes) -> InferResponse:
    """Parse one ModelInferResponse; InputError as for a request."""
    head_bytes, raw = message.split(data, _RAW_OUTPUTS)
    head = ModelInferResponse()
    _parse(head, head_bytes)
    return InferResponse(
        model=head.model_name,
        version=head.model_version,
        outputs=_tensors("output", head.outputs, raw),
        id=head.id,
    )


def _parse(head: ModelInferRequest | ModelInferResponse, data: bytes) -> None:
    try:
        head.ParseFromString(data)
    except DecodeError as error:
        raise InputError("the message is not a protobuf message of this call") from error


def _tensors(
    role: str, heads: Sequence[_WireTensor], raw: Sequence[memoryview]
) -> tuple[Tensor, ...]:
    if len(heads) > MAX_TENSORS:
        raise InputError(f"{len(heads)} {role}s; at most {MAX_TENSORS} are accepted")
    _unique(role, [head.name for head in heads])
    if not raw:
        return tuple(_typed(head) for head in heads)
    if len(raw) != len(heads):
        raise InputError(f"{len(raw)} raw contents for {len(heads)} {role}s; one each is needed")
    for head in heads:
        if head.HasField("contents"):
            raise InputError(f"{role} {head.name!r} has typed contents beside raw contents")
    return tuple(
        from_raw(head.name, head.datatype, head.shape, piece)
        for head, piece in zip(heads, raw, strict=True)
    )


def _typed(head: _WireTensor) -> Tensor:
    field = data_type(head.datatype).typed_field
    if not field:
        raise InputError(f"tensor {head.name!r} is {head.datatype}, which needs raw contents")
    used = [found.name for found, _ in head.contents.ListFields()]
    if any(name != field for name in used):
        raise InputError(
            f"tensor {head.name!r} is {head.datatype} and belongs into {field}, not {used}"
        )
    return from_typed(head.name, head.datatype, head.shape, getattr(head.contents, field))


def _unique(role: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise InputError(f"an {role} is named twice: {sorted(names)}")


def _refuse_parameters(names: Iterable[str]) -> None:
    unknown = sorted(set(names) - _IGNORED_PARAMETERS)
    if unknown:
        raise InputError(f"parameter {unknown[0][:64]!r} is not supported by this server")
