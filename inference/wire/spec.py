"""What a model takes and gives, and whether a shape fits; the same answer on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sealserve.inference.wire.open_inference_pb2 import ModelMetadataResponse
from sealserve.native.errors import InputError

ANY_SIZE = -1


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model; a dimension of any size is -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def check(self, datatype: str, shape: Sequence[int]) -> None:
        """InputError unless a tensor of that type and shape is one of these."""
        if datatype != self.datatype:
            raise InputError(f"tensor {self.name!r} is {datatype}; the model takes {self.datatype}")
        fits = len(shape) == len(self.shape)
        for seen, wanted in zip(shape, self.shape, strict=False):
            fits = fits and wanted in (seen, ANY_SIZE)
        if not fits:
            raise InputError(
                f"tensor {self.name!r} has shape {list(shape)}; "
                f"the model takes {list(self.shape)} (-1: any size)"
            )


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a server tells of one model. versions: all it serves; platform: `onnxruntime_onnx`."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def encode(self) -> ModelMetadataResponse:
        """As the protocol's message."""
        return ModelMetadataResponse(
            name=self.name,
            versions=self.versions,
            platform=self.platform,
            inputs=[_encode(spec) for spec in self.inputs],
            outputs=[_encode(spec) for spec in self.outputs],
        )

    @classmethod
    def decode(cls, message: ModelMetadataResponse) -> ModelMetadata:
        """From the protocol's message."""
        return cls(
            name=message.name,
            versions=tuple(message.versions),
            platform=message.platform,
            inputs=tuple(_decode(entry) for entry in message.inputs),
            outputs=tuple(_decode(entry) for entry in message.outputs),
        )


def same_names(role: str, seen: Iterable[str], wanted: Iterable[str]) -> None:
    """InputError unless `seen` and `wanted` are the same names, in any order."""
    seen, wanted = sorted(seen), sorted(wanted)
    if seen != wanted:
        raise InputError(f"{role}s are {seen}; the model has {wanted}")


def known_names(role: str, seen: Iterable[str], known: Iterable[str]) -> None:
    """InputError unless every one of `seen` is among `known`."""
    known = sorted(known)
    for name in seen:
        if name not in known:
            raise InputError(f"the model has no {role} {name!r}; it has {known}")


def _encode(spec: TensorSpec) -> ModelMetadataResponse.TensorMetadata:
    return ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )


def _decode(entry: ModelMetadataResponse.TensorMetadata) -> TensorSpec:
    return TensorSpec(entry.name, entry.datatype, tuple(entry.shape))
