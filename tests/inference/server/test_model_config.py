"""ModelConfig: a model as Triton's clients know it."""

from __future__ import annotations

import pytest

from sealserve.inference.server.model_config import encode_config
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.spec import ModelMetadata, TensorSpec


def model(*versions: str, kind: str = "FP32") -> ModelMetadata:
    return ModelMetadata(
        name="m",
        versions=versions or ("1",),
        platform="onnxruntime_onnx",
        inputs=(TensorSpec("x", kind, (-1, 3, 224)),),
        outputs=(TensorSpec("y", kind, (-1, 10)),),
    )


def test_a_model_says_what_it_is() -> None:
    config = encode_config(model()).config
    assert (config.name, config.platform) == ("m", "onnxruntime_onnx")
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "model.onnx")
    assert not config.model_transaction_policy.decoupled


def test_shapes_are_whole_where_requests_are_not_joined() -> None:
    config = encode_config(model()).config
    assert config.max_batch_size == 0
    (x,), (y,) = config.input, config.output
    assert (x.name, list(x.dims)) == ("x", [-1, 3, 224])
    assert (y.name, list(y.dims)) == ("y", [-1, 10])
    assert config.WhichOneof("scheduling_choice") is None


def test_a_batch_is_no_part_of_a_shape_where_they_are() -> None:
    config = encode_config(model(), max_batch_size=8, delay_seconds=0.002).config
    assert config.max_batch_size == 8
    assert list(config.input[0].dims) == [3, 224]
    assert list(config.output[0].dims) == [10]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000


@pytest.mark.parametrize("kind", DATA_TYPES)
def test_every_data_type_has_its_number(kind: str) -> None:
    config = encode_config(model(kind=kind)).config
    (x,), (y,) = config.input, config.output
    name = "TYPE_STRING" if kind == "BYTES" else f"TYPE_{kind}"
    assert pb.DataType.Name(x.data_type) == pb.DataType.Name(y.data_type) == name


def test_versions_that_are_numbers_are_told() -> None:
    config = encode_config(model("3", "1")).config
    assert list(config.version_policy.specific.versions) == [3, 1]


@pytest.mark.parametrize("version", ["1.2", "²", "9" * 19, "rc"])
def test_versions_that_are_not_are_all(version: str) -> None:
    config = encode_config(model("1", version)).config
    assert config.version_policy.WhichOneof("policy_choice") == "all"
