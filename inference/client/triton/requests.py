"""A request as programs written for Triton's client put it together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sealserve.inference.client.triton.errors import InferenceServerException
from sealserve.inference.client.triton.tensors import InferInput, InferRequestedOutput
from sealserve.inference.wire import message
from sealserve.inference.wire.open_inference_pb2 import InferParameter, ModelInferRequest

# Triton keeps these names, and what begins so, to itself.
_RESERVED = frozenset(
    {
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
    }
)
_RESERVED_START = "triton_"


def request_of(
    model_name: str,
    inputs: Sequence[InferInput],
    model_version: str,
    request_id: str,
    outputs: Sequence[InferRequestedOutput] | None,
    sequence_id: int | str,
    sequence_start: bool,
    sequence_end: bool,
    priority: int,
    timeout: int | None,
    parameters: Mapping[str, Any] | None,
    *,
    empty_final_response: bool = False,
) -> bytes:
    """The encoded ModelInferRequest. InferenceServerException for what is none."""
    require_version(model_version)
    head = ModelInferRequest(
        model_name=model_name,
        model_version=model_version,
        id=request_id,
        inputs=[given._input for given in inputs],
        outputs=[wanted._output for wanted in outputs or ()],
    )
    said = head.parameters
    if sequence_id:
        said["sequence_id"].CopyFrom(_parameter("sequence_id", sequence_id))
        said["sequence_start"].bool_param = sequence_start
        said["sequence_end"].bool_param = sequence_end
    if priority:
        said["priority"].uint64_param = priority
    if timeout is not None:
        said["timeout"].int64_param = timeout
    if empty_final_response:
        said["triton_enable_empty_final_response"].bool_param = True
    for key, value in (parameters or {}).items():
        if key in _RESERVED or key.startswith(_RESERVED_START):
            raise InferenceServerException(f"parameter {key!r} is one of Triton's own")
        said[key].CopyFrom(_parameter(key, value))
    raw = [memoryview(given._raw) for given in inputs if given._raw is not None]
    field = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
    return message.join(head.SerializeToString(), field, raw)


def require_version(model_version: object) -> None:
    """InferenceServerException unless it is text, as versions are."""
    if not isinstance(model_version, str):
        raise InferenceServerException("model version must be a string")


def _parameter(key: str, value: object) -> InferParameter:
    if isinstance(value, str):
        return InferParameter(string_param=value)
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    if isinstance(value, float):
        return InferParameter(double_param=value)
    raise InferenceServerException(f"parameter {key!r} is {type(value).__name__}; it cannot travel")
