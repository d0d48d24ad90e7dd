"""The committed messages are what protoc makes of the .proto files, with standard numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealserve.inference.wire import open_inference_pb2 as pb
from support.protos import require_as_generated


@pytest.mark.parametrize("name", ["open_inference", "attestation"])
def test_generated_code_matches_its_proto(name: str, tmp_path: Path) -> None:
    require_as_generated("inference/wire", name, tmp_path)


# From kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto.
STANDARD = {
    "ModelInferRequest": "model_name=1 model_version=2 id=3 parameters=4 inputs=5 outputs=6 "
    "raw_input_contents=7",
    "ModelInferRequest.InferInputTensor": "name=1 datatype=2 shape=3 parameters=4 contents=5",
    "ModelInferRequest.InferRequestedOutputTensor": "name=1 parameters=2",
    "ModelInferResponse": "model_name=1 model_version=2 id=3 parameters=4 outputs=5 "
    "raw_output_contents=6",
    "ModelInferResponse.InferOutputTensor": "name=1 datatype=2 shape=3 parameters=4 contents=5",
    "InferTensorContents": "bool_contents=1 int_contents=2 int64_contents=3 uint_contents=4 "
    "uint64_contents=5 fp32_contents=6 fp64_contents=7 bytes_contents=8",
    "InferParameter": "bool_param=1 int64_param=2 string_param=3 double_param=4 uint64_param=5",
    "ModelMetadataResponse": "name=1 versions=2 platform=3 inputs=4 outputs=5",
    "ModelMetadataResponse.TensorMetadata": "name=1 datatype=2 shape=3",
    "ModelMetadataRequest": "name=1 version=2",
    "ModelReadyRequest": "name=1 version=2",
    "ServerMetadataResponse": "name=1 version=2 extensions=3",
}


@pytest.mark.parametrize("path", STANDARD)
def test_field_numbers_are_the_standards(path: str) -> None:
    outer, _, inner = path.partition(".")
    descriptor = pb.DESCRIPTOR.message_types_by_name[outer]
    if inner:
        descriptor = descriptor.nested_types_by_name[inner]
    assert " ".join(f"{f.name}={f.number}" for f in descriptor.fields) == STANDARD[path]
