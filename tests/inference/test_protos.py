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
    # From here on triton-inference-server/common, protobuf/grpc_service.proto and
    # protobuf/model_config.proto; what we neither read nor fill is left out.
    "ModelStreamInferResponse": "error_message=1 infer_response=2",
    "ModelConfigRequest": "name=1 version=2",
    "ModelConfigResponse": "config=1",
    "ModelConfig": "name=1 platform=2 version_policy=3 max_batch_size=4 input=5 output=6 "
    "default_model_filename=8 dynamic_batching=11 backend=17 model_transaction_policy=19",
    "ModelInput": "name=1 data_type=2 dims=4",
    "ModelOutput": "name=1 data_type=2 dims=3",
    "ModelVersionPolicy": "all=2 specific=3",
    "ModelVersionPolicy.Specific": "versions=1",
    "ModelDynamicBatching": "max_queue_delay_microseconds=2",
    "ModelTransactionPolicy": "decoupled=1",
    "ModelStatisticsRequest": "name=1 version=2",
    "ModelStatisticsResponse": "model_stats=1",
    "StatisticDuration": "count=1 ns=2",
    "InferStatistics": "success=1 fail=2 queue=3 compute_input=4 compute_infer=5 compute_output=6",
    "InferBatchStatistics": "batch_size=1 compute_input=2 compute_infer=3 compute_output=4",
    "ModelStatistics": "name=1 version=2 last_inference=3 inference_count=4 execution_count=5 "
    "inference_stats=6 batch_stats=7",
    "ModelRepositoryParameter": "bool_param=1 int64_param=2 string_param=3 bytes_param=4",
    "RepositoryIndexRequest": "repository_name=1 ready=2",
    "RepositoryIndexResponse": "models=1",
    "RepositoryIndexResponse.ModelIndex": "name=1 version=2 state=3 reason=4",
    "RepositoryModelLoadRequest": "repository_name=1 model_name=2 parameters=3",
    "RepositoryModelUnloadRequest": "repository_name=1 model_name=2 parameters=3",
}


@pytest.mark.parametrize("path", STANDARD)
def test_field_numbers_are_the_standards(path: str) -> None:
    outer, _, inner = path.partition(".")
    descriptor = pb.DESCRIPTOR.message_types_by_name[outer]
    if inner:
        descriptor = descriptor.nested_types_by_name[inner]
    assert " ".join(f"{f.name}={f.number}" for f in descriptor.fields) == STANDARD[path]


def test_the_numbers_of_data_types_are_tritons() -> None:
    names = (
        "INVALID BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING BF16"
    )
    assert pb.DataType.keys() == [f"TYPE_{name}" for name in names.split()]
    assert pb.DataType.values() == list(range(15))
