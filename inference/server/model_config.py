"""ModelConfig: what Triton's clients ask of a model beyond its metadata, as far as we know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.spec import ModelMetadata

_BACKEND: Final = "onnxruntime"
_FILE: Final = "model.onnx"  # of every sealed model (models/SPEC.md, section 6)
# Ours have Triton's names, but for BYTES.
_DATA_TYPES: Final = {name: "TYPE_" + name.replace("BYTES", "STRING") for name in DATA_TYPES}


def encode_config(
    model: ModelMetadata, *, max_batch_size: int = 0, delay_seconds: float = 0.0
) -> pb.ModelConfigResponse:
    """The configuration of a model.

    max_batch_size: rows that requests are joined to, 0 where they are not; a first dimension is the
    batch's otherwise, and no part of the shapes told. delay_seconds: longest a request waits for
    others to join it.
    """
    skip = 1 if max_batch_size else 0
    config = pb.ModelConfig(
        name=model.name,
        platform=model.platform,
        backend=_BACKEND,
        default_model_filename=_FILE,
        version_policy=_policy(model.versions),
        max_batch_size=max_batch_size,
        input=[
            pb.ModelInput(name=t.name, data_type=_DATA_TYPES[t.datatype], dims=t.shape[skip:])
            for t in model.inputs
        ],
        output=[
            pb.ModelOutput(name=t.name, data_type=_DATA_TYPES[t.datatype], dims=t.shape[skip:])
            for t in model.outputs
        ],
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
    )
    if max_batch_size:
        config.dynamic_batching.max_queue_delay_microseconds = round(delay_seconds * 1e6)
    return pb.ModelConfigResponse(config=config)


def _policy(versions: Sequence[str]) -> pb.ModelVersionPolicy:
    """Those that are served. Triton's versions are numbers, so others cannot be told one by one."""
    if all(version.isascii() and version.isdigit() and len(version) < 19 for version in versions):
        specific = pb.ModelVersionPolicy.Specific(versions=map(int, versions))
        return pb.ModelVersionPolicy(specific=specific)
    return pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All())
