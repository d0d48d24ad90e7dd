"""ModelInfer's request and answer, between bytes and tensors; the same code on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from google.protobuf.message import DecodeError, Message

from sealserve.inference.wire import message
from sealserve.inference.wire.datatypes import DATA_TYPES, data_type
from sealserve.inference.wire.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from sealserve.inference.wire.spec import TensorSpec, known_names, same_names
from sealserve.inference.wire.tensor import Tensor, check_shape, from_raw, from_typed, to_raw
from sealserve.native.errors import InputError

# More named tensors than any model has. This and the next three bound what a message costs before
# anybody knows whom it is for: they count what is not contents.
MAX_TENSORS: Final = 256
MAX_FIELDS: Final = 4 * MAX_TENSORS  # inputs, their raw contents, outputs, and as many others
MAX_TENSOR_FIELDS: Final = 64  # of one tensor; its shape may be one field for each dimension
MAX_HEAD_BYTES: Final = 256 * 1024  # of all that is not contents
_INPUTS: Final = ModelInferRequest.INPUTS_FIELD_NUMBER
_OUTPUTS: Final = ModelInferResponse.OUTPUTS_FIELD_NUMBER
_RAW_INPUTS: Final = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_RAW_OUTPUTS: Final = ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
_INPUT_CONTENTS: Final = ModelInferRequest.InferInputTensor.CONTENTS_FIELD_NUMBER
_OUTPUT_CONTENTS: Final = ModelInferResponse.InferOutputTensor.CONTENTS_FIELD_NUMBER
_BYTES_CONTENTS: Final = InferTensorContents.BYTES_CONTENTS_FIELD_NUMBER
_INFER_RESPONSE: Final = ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER
# Parameters of a request, an input and an output. `timeout` is honoured; the others ask for nothing
# that a result could differ by. Any other is refused: to ignore, say, `classification` or a shared
# memory region would answer another question than the one asked.
_TIMEOUT: Final = "timeout"
_OF_REQUEST: Final = frozenset(
    {_TIMEOUT, "priority", "binary_data_output", "triton_enable_empty_final_response"}
)
_OF_INPUT: Final = frozenset({"binary_data_size"})  # KServe's client, of contents that are raw
_OF_OUTPUT: Final = frozenset({"binary_data"})
# Triton's: whether an answer of a stream is the last one to its request. Ours always is.
_FINAL: Final = "triton_final_response"


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


_WireTensor = ModelInferRequest.InferInputTensor | ModelInferResponse.InferOutputTensor


@dataclass(frozen=True, slots=True)
class _Contents:
    """What was cut out of a message. typed: for each tensor; raw: one for each tensor, or none."""

    typed: list[list[memoryview]]
    raw: list[memoryview]


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

    def __init__(self, data: bytes | memoryview) -> None:
        self.message_bytes = len(data)
        self._head = ModelInferRequest()
        self._contents = _take_apart(self._head, data, _INPUTS, _INPUT_CONTENTS, _RAW_INPUTS)
        # Going through protobuf's own sequence makes its objects anew each time.
        self._inputs = tuple(self._head.inputs)

    @property
    def model(self) -> str:
        return self._head.model_name

    @property
    def version(self) -> str:
        return self._head.model_version

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the outputs wanted, empty for all of them."""
        return tuple([output.name for output in self._head.outputs])

    @cached_property
    def number_bytes(self) -> int:
        """Of raw contents that are numbers: decoding makes nothing of them but a view or a copy."""
        if len(self._contents.raw) != len(self._inputs):
            return 0
        return sum(
            piece.nbytes
            for (_, datatype, _), piece in zip(self.shapes, self._contents.raw, strict=True)
            if datatype in DATA_TYPES and DATA_TYPES[datatype].storage is not None
        )

    @cached_property
    def shapes(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Name, type and shape of each input, as they are said."""
        return tuple((each.name, each.datatype, tuple(each.shape)) for each in self._inputs)

    @property
    def id(self) -> str:
        return self._head.id

    @property
    def timeout_seconds(self) -> float:
        """How long the caller would wait; 0 where nothing was said of it. Once it was checked."""
        parameters = self._head.parameters
        if _TIMEOUT not in parameters:  # to ask for a name that is not there would add it
            return 0.0
        return parameters[_TIMEOUT].int64_param / 1e6

    def check_itself(self) -> None:
        """InputError when parameters, names, types and shapes say what cannot be.

        Looks at no contents: its time does not grow with them.
        """
        head = self._head
        _known_parameters(head.parameters, _OF_REQUEST)
        _check_timeout(head.parameters)
        for wanted in head.outputs:
            _known_parameters(wanted.parameters, _OF_OUTPUT)
        for given in self._inputs:
            _known_parameters(given.parameters, _OF_INPUT)
        _unique("output", [output.name for output in head.outputs])
        _check_tensors("input", self._inputs, self._contents)

    def check_against(self, takes: Sequence[TensorSpec], gives: Sequence[TensorSpec]) -> None:
        """As `check_itself`, and InputError for what a model does not take or give."""
        self.check_itself()
        specs = {spec.name: spec for spec in takes}
        same_names("input", [given.name for given in self._inputs], specs)
        for given in self._inputs:
            specs[given.name].check(given.datatype, given.shape)
        wanted = [output.name for output in self._head.outputs]
        known_names("output", wanted, [spec.name for spec in gives])

    def decode(self) -> InferRequest:
        """The whole request, once it was checked; its time grows with its contents.

        Its tensors are views into the message where alignment allows. Raises InputError when
        contents are not what was said of them.
        """
        head = self._head
        return InferRequest(
            model=head.model_name,
            version=head.model_version,
            inputs=_tensors(self._inputs, self._contents),
            outputs=self.wanted,
            id=head.id,
        )


def decode_request(data: bytes) -> InferRequest:
    """One ModelInferRequest; InputError for anything that is not one, or contradicts itself."""
    incoming = IncomingRequest(data)
    incoming.check_itself()
    return incoming.decode()


def encode_response(response: InferResponse) -> bytes:
    """One ModelInferResponse with raw contents."""
    return b"".join(_response(response, _head(response)))


def encode_stream_response(response: InferResponse) -> bytes:
    """One ModelStreamInferResponse: the whole answer to a request."""
    head = _head(response)
    head.parameters[_FINAL].bool_param = True
    return b"".join(message.inside(_INFER_RESPONSE, _response(response, head)))


def encode_stream_error(words: str, *, model: str, version: str, id: str) -> bytes:
    """One ModelStreamInferResponse for a request without an answer, which its own names tell."""
    head = ModelInferResponse(model_name=model, model_version=version, id=id)
    head.parameters[_FINAL].bool_param = True
    return ModelStreamInferResponse(error_message=words, infer_response=head).SerializeToString()


def decode_response(data: bytes) -> InferResponse:
    """Parse one ModelInferResponse; InputError as for a request."""
    head = ModelInferResponse()
    contents = _take_apart(head, data, _OUTPUTS, _OUTPUT_CONTENTS, _RAW_OUTPUTS)
    _check_tensors("output", head.outputs, contents)
    return InferResponse(
        model=head.model_name,
        version=head.model_version,
        outputs=_tensors(head.outputs, contents),
        id=head.id,
    )


def _head(response: InferResponse) -> ModelInferResponse:
    return ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        outputs=[
            ModelInferResponse.InferOutputTensor(name=t.name, datatype=t.datatype, shape=t.shape)
            for t in response.outputs
        ],
    )


def _response(response: InferResponse, head: ModelInferResponse) -> message.Parts:
    raw = [to_raw(tensor) for tensor in response.outputs]
    return message.parts(head.SerializeToString(), _RAW_OUTPUTS, raw)


def _take_apart(
    head: ModelInferRequest | ModelInferResponse,
    data: bytes | memoryview,
    tensor: int,
    typed: int,
    raw: int,
) -> _Contents:
    """Parse all that is not contents into `head`. The numbers are those of the fields."""
    rest, (tensors, raw_pieces) = message.split(data, tensor, raw, max_fields=MAX_FIELDS)
    if len(tensors) > MAX_TENSORS:
        raise InputError(f"{len(tensors)} tensors; at most {MAX_TENSORS} are accepted")
    bare: list[memoryview] = []
    typed_pieces: list[list[memoryview]] = []
    for piece in tensors:
        without, (contents,) = message.split(piece, typed, max_fields=MAX_TENSOR_FIELDS)
        bare.append(memoryview(without))
        typed_pieces.append(contents)
    whole = message.join(rest, tensor, bare)
    if len(whole) > MAX_HEAD_BYTES:
        raise InputError(
            f"message has {len(whole)} bytes beside its tensors' contents; "
            f"at most {MAX_HEAD_BYTES} are accepted"
        )
    _parse(head, whole)
    return _Contents(typed_pieces, raw_pieces)


def _parse(head: Message, data: bytes | memoryview) -> None:
    try:
        head.MergeFromString(data)  # type: ignore[arg-type]  # the stubs know bytes alone
    except DecodeError as error:
        raise InputError("the message is not a protobuf message of this call") from error


def _check_tensors(role: str, heads: Sequence[_WireTensor], contents: _Contents) -> None:
    _unique(role, [head.name for head in heads])
    raw = contents.raw
    if raw and len(raw) != len(heads):
        raise InputError(f"{len(raw)} raw contents for {len(heads)} {role}s; one each is needed")
    for head, typed in zip(heads, contents.typed, strict=True):
        check_shape(head.name, head.datatype, head.shape)
        if raw and typed:
            raise InputError(f"{role} {head.name!r} has typed contents beside raw contents")


def _tensors(heads: Sequence[_WireTensor], contents: _Contents) -> tuple[Tensor, ...]:
    if not contents.raw:
        typed = zip(heads, contents.typed, strict=True)
        return tuple(_typed(head, pieces) for head, pieces in typed)
    return tuple(
        from_raw(head.name, head.datatype, head.shape, piece)
        for head, piece in zip(heads, contents.raw, strict=True)
    )


def _typed(head: _WireTensor, pieces: Sequence[memoryview]) -> Tensor:
    """A tensor from its typed contents; protobuf merges what is there in several pieces."""
    kind = data_type(head.datatype)
    if not kind.typed_field:
        raise InputError(f"tensor {head.name!r} is {head.datatype}, which needs raw contents")
    texts: list[memoryview] = []
    contents = InferTensorContents()
    for piece in pieces:
        rest: bytes | memoryview = piece
        if kind.storage is None:  # an object each, so they are counted while they are cut out
            count = check_shape(head.name, head.datatype, head.shape)
            rest, (more,) = message.split(piece, _BYTES_CONTENTS, max_fields=count - len(texts))
            texts += more
        _parse(contents, rest)
    used = [found.name for found, _ in contents.ListFields()]
    if any(name != kind.typed_field for name in used):
        raise InputError(
            f"tensor {head.name!r} is {head.datatype} and belongs into {kind.typed_field}, "
            f"not {used}"
        )
    values = [bytes(text) for text in texts] or getattr(contents, kind.typed_field)
    return from_typed(head.name, head.datatype, head.shape, values)


def _unique(role: str, names: Sequence[str]) -> None:
    if len(names) > 1 and len(set(names)) != len(names):
        raise InputError(f"an {role} is named twice: {sorted(names)}")


def _known_parameters(names: Iterable[str], known: frozenset[str]) -> None:
    unknown = sorted(name for name in names if name not in known)
    if unknown:
        raise InputError(f"parameter {unknown[0][:64]!r} is not supported here")


def _check_timeout(parameters: Mapping[str, InferParameter]) -> None:
    if _TIMEOUT not in parameters:
        return
    said = parameters[_TIMEOUT]
    if said.WhichOneof("parameter_choice") != "int64_param" or said.int64_param < 0:
        raise InputError("parameter 'timeout' is microseconds, as int64_param, and not below 0")
