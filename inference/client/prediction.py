"""One question and its answer as bytes; the same for both clients, and without I/O.

An answer that does not fit is an IntegrityError: these bytes are not what the attested server sends
to this question. It is not the caller's InputError, and asking again would not mend it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError

from sealserve.inference.client.inputs import Cast, array_of, tensors
from sealserve.inference.client.status import our_error
from sealserve.inference.client.verification import listed
from sealserve.inference.wire import names
from sealserve.inference.wire.datatypes import data_type
from sealserve.inference.wire.infer import (
    MAX_TENSORS,
    InferRequest,
    InferResponse,
    decode_response,
    encode_request,
)
from sealserve.inference.wire.open_inference_pb2 import (
    ModelMetadataRequest,
    ModelMetadataResponse,
)
from sealserve.inference.wire.spec import ANY_SIZE, ModelMetadata, TensorSpec, known_names
from sealserve.inference.wire.tensor import MAX_DIMENSIONS, Array
from sealserve.native.errors import Finding, InputError, IntegrityError, PolicyViolation

_HINT = "a server of another version? its operator has to look"


@dataclass(frozen=True, slots=True)
class Question:
    """request: the encoded message. outputs: names wanted, in order; metadata: of the model.

    sent: the inputs, as the model would have to take them.
    """

    request: bytes
    outputs: tuple[str, ...]
    metadata: ModelMetadata
    sent: tuple[TensorSpec, ...]

    @classmethod
    def of(
        cls,
        metadata: ModelMetadata,
        inputs: Mapping[str, object],
        *,
        version: str,
        outputs: Sequence[str] | None,
        cast: Cast,
    ) -> Question:
        """Encode a question. InputError for what does not fit the model, TypeError for misuse."""
        if isinstance(outputs, str):  # a sequence too, of names of one letter
            raise TypeError(f'outputs is a str; it is a list of names: ["{outputs}"]')
        wanted = tuple(outputs or ())
        known_names("output", wanted, [spec.name for spec in metadata.outputs])
        if len(set(wanted)) != len(wanted):
            raise InputError(f"an output is asked for twice: {list(wanted)}")
        given = tensors(inputs, metadata.inputs, cast)
        request = InferRequest(metadata.name, version, given, wanted)
        every = tuple(spec.name for spec in metadata.outputs)
        sent = tuple(TensorSpec(one.name, one.datatype, one.shape) for one in given)
        return cls(encode_request(request), wanted or every, metadata, sent)

    def require_taken(self, error: grpc.RpcError) -> None:
        """InputError with both sides, if that is why a call failed."""
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            return
        meant = our_error(error, f"prediction by {self.metadata.name}")
        taken = _shapes(self.metadata.inputs)
        raise InputError(
            f"{meant.message}: sent {_shapes(self.sent)}; the model takes {taken}"
        ) from error

    def answer(self, data: bytes) -> dict[str, Array]:
        """The outputs by name. IntegrityError for an answer to another question."""
        try:
            response = decode_response(data)
            self._check(response)
        except InputError as error:  # it was not the caller's input that was wrong
            raise IntegrityError(
                f"the server's answer does not fit: {error.message}", hint=_HINT
            ) from error
        by_name = {tensor.name: tensor for tensor in response.outputs}
        return {name: array_of(by_name[name]) for name in self.outputs}

    def _check(self, response: InferResponse) -> None:
        if response.model != self.metadata.name:
            raise InputError(f"it is of model {response.model[:128]!r}, not {self.metadata.name!r}")
        specs = {spec.name: spec for spec in self.metadata.outputs}
        seen = sorted(tensor.name for tensor in response.outputs)
        if seen != sorted(self.outputs):
            raise InputError(f"it has the outputs {seen}; {sorted(self.outputs)} were asked for")
        for tensor in response.outputs:
            specs[tensor.name].check(tensor.datatype, tensor.shape)


def _shapes(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)


def read_metadata(data: bytes, model: str) -> ModelMetadata:
    """What the server told of this model. IntegrityError for an answer that is none."""
    message = ModelMetadataResponse()
    try:
        message.ParseFromString(data)
        if message.name != model:
            raise InputError(f"it is of {message.name[:128]!r}")
        metadata = ModelMetadata.decode(message)
        _check_specs(metadata.inputs)
        _check_specs(metadata.outputs)
    except (DecodeError, InputError) as error:
        raise IntegrityError(
            f"the server's metadata of {model!r} cannot be used: {error}", hint=_HINT
        ) from error
    return metadata


def _check_specs(specs: Sequence[TensorSpec]) -> None:
    if len(specs) > MAX_TENSORS or len({spec.name for spec in specs}) != len(specs):
        raise InputError(f"it names a tensor twice, or more than {MAX_TENSORS} of them")
    for spec in specs:
        data_type(spec.datatype)
        if (
            not spec.name
            or len(spec.shape) > MAX_DIMENSIONS
            or min(spec.shape, default=0) < ANY_SIZE
        ):
            raise InputError(
                f"it has a tensor {spec.name[:128]!r} of shape {list(spec.shape)[:40]}"
            )


def metadata_request(model: str, version: str) -> bytes:
    """The encoded question for a model's metadata. InputError for names that cannot travel."""
    try:
        return ModelMetadataRequest(name=model, version=version).SerializeToString()
    except UnicodeEncodeError as error:
        raise InputError(f"version {version!r} is not UTF-8") from error


def root_metadata(root: bytes) -> tuple[tuple[str, str], ...]:
    """What every call about a model carries: the root its caller verified. Empty: about none."""
    return ((names.MODEL_ROOT_KEY, root.hex()),) if root else ()


def require_root(
    trailing: Sequence[tuple[str, str | bytes]] | None, root: bytes, path: str
) -> None:
    """PolicyViolation unless the answer repeats the root that was asked for, and no other.

    root: empty for a call that was about no model. path: of the call.
    """
    named = _roots_in(trailing)
    # Of a model it does not have a server says that it is not ready, and names no root.
    absent = path == names.MODEL_READY and not named
    if root and named != [root.hex()] and not absent:
        seen = ", ".join(named) or "no root"
        raise PolicyViolation(
            "the answer is not of the model that was verified",
            findings=[Finding("answer_root", seen, root.hex())],
            hint="the server changed its model: attest again",
        )


def require_roots_among(
    trailing: Sequence[tuple[str, str | bytes]] | None, roots: Collection[bytes]
) -> None:
    """PolicyViolation if a stream was answered by a model of another root than these."""
    others = set(_roots_in(trailing)) - {root.hex() for root in roots}
    if others:
        raise PolicyViolation(
            "an answer is not of a model that was verified",
            findings=[Finding("answer_root", ", ".join(sorted(others)), listed(frozenset(roots)))],
            hint="the server changed its model: attest again",
        )


def _roots_in(trailing: Sequence[tuple[str, str | bytes]] | None) -> list[str]:
    return [str(value)[:128] for key, value in trailing or () if key == names.MODEL_ROOT_KEY]
