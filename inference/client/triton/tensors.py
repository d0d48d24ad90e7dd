"""Inputs, outputs and results as programs written for Triton's client hold them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from numpy.typing import NDArray

from sealserve.inference.client.inputs import array_of
from sealserve.inference.client.triton.errors import InferenceServerException
from sealserve.inference.wire import bfloat16
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from sealserve.inference.wire.tensor import Array, Tensor, from_raw, to_raw
from sealserve.native.errors import InputError

_NAMES = {
    kind.storage.newbyteorder("="): name
    for name, kind in DATA_TYPES.items()
    if kind.storage is not None and name != "BF16"
}


def np_to_triton_dtype(np_dtype: Any) -> str | None:
    """The protocol's name of a dtype, None if it has none."""
    dtype = np.dtype(np_dtype)
    if dtype.kind in "OS":
        return "BYTES"
    if dtype.name == "bfloat16":  # of the package ml_dtypes, which is not needed for it
        return "BF16"
    return _NAMES.get(dtype.newbyteorder("="))


def triton_to_np_dtype(dtype: str) -> Any:
    """What results of that type are; None for a name that is none. BF16 comes as float32."""
    if dtype == "BYTES":
        return np.object_
    if dtype == "BF16":
        return np.float32
    kind = DATA_TYPES.get(dtype)
    return None if kind is None or kind.storage is None else kind.storage.type


class InferInput:
    """One input of a request."""

    def __init__(self, name: str, shape: Sequence[int], datatype: str) -> None:
        self._input = ModelInferRequest.InferInputTensor(
            name=name, datatype=datatype, shape=list(shape)
        )
        self._raw: bytes | None = None

    def name(self) -> str:
        """Its name."""
        return self._input.name

    def datatype(self) -> str:
        """Its type, by the protocol's name."""
        return self._input.datatype

    def shape(self) -> Any:
        """Its dimensions."""
        return self._input.shape

    def set_shape(self, shape: Sequence[int]) -> InferInput:
        """Give it other dimensions."""
        self._input.ClearField("shape")
        self._input.shape.extend(shape)
        return self

    def set_data_from_numpy(self, input_tensor: Array) -> InferInput:
        """Take the values as they are now. InferenceServerException for another type or shape.

        BF16 takes float32 too, if each value is one of BF16's.
        """
        if not isinstance(input_tensor, np.ndarray):
            raise InferenceServerException("input_tensor must be a numpy array")
        if list(self._input.shape) != list(input_tensor.shape):
            raise InferenceServerException(
                f"the array's shape is {list(input_tensor.shape)}; the input was declared as"
                f" {list(self._input.shape)}"
            )
        self._raw = _raw(self._input.datatype, self._input.name, input_tensor)
        return self


class InferRequestedOutput:
    """One output that is wanted."""

    def __init__(self, name: str, class_count: int = 0) -> None:
        self._output = ModelInferRequest.InferRequestedOutputTensor(name=name)
        if class_count:
            self._output.parameters["classification"].int64_param = class_count

    def name(self) -> str:
        """Its name."""
        return self._output.name


class InferResult:
    """One answer."""

    def __init__(self, result: ModelInferResponse) -> None:
        self._result = result

    def as_numpy(self, name: str) -> Array | None:
        """An output's values; None if there is no such output. Read-only."""
        for output, raw in zip(self._result.outputs, self._raws(), strict=False):
            if output.name == name:
                return _array(output, raw)
        return None

    def get_output(self, name: str, as_json: bool = False) -> Any:
        """What is said of an output; None if there is no such output."""
        for output in self._result.outputs:
            if output.name == name:
                return as_dict(output) if as_json else output
        return None

    def get_response(self, as_json: bool = False) -> Any:
        """The whole message."""
        return as_dict(self._result) if as_json else self._result

    def _raws(self) -> Sequence[bytes]:
        return list(self._result.raw_output_contents)


def as_dict(message: Message) -> Any:
    """A message as protobuf writes it in JSON, with the names of its fields."""
    return json.loads(MessageToJson(message, preserving_proto_field_name=True))


def _raw(datatype: str, name: str, given: Array) -> bytes:
    found = np_to_triton_dtype(given.dtype)
    if datatype == "BF16" and found == "FP32":
        floats = cast("NDArray[np.float32]", given)
        if not bfloat16.is_exact(floats):
            raise InferenceServerException(f"{name} has values that BF16 does not hold exactly")
        return bfloat16.to_bits(floats).tobytes()
    if found != datatype:
        raise InferenceServerException(
            f"the array is of type {found or given.dtype}; the input was declared as {datatype}"
        )
    if datatype == "BYTES":
        return bytes(to_raw(Tensor(name, datatype, given.shape, _texts(given))))
    if datatype == "BF16":
        return given.tobytes()
    return np.ascontiguousarray(given, DATA_TYPES[datatype].storage).tobytes()


def _texts(given: Array) -> Array:
    data: Array = np.empty(given.size, dtype=object)
    data[:] = [_text(each) for each in given.reshape(-1).tolist()]
    return data


def _text(element: object) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode()


def _array(output: ModelInferResponse.InferOutputTensor, raw: bytes) -> Array:
    try:
        tensor = from_raw(output.name, output.datatype, output.shape, memoryview(raw))
    except InputError as error:
        raise InferenceServerException(
            f"the answer does not fit: {error.message}", "StatusCode.DATA_LOSS"
        ) from error
    return array_of(tensor)
