"""The committed messages are what protoc makes of the .proto file, with Microsoft's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealserve.keys.sidecar import key_provider_pb2 as pb
from support.protos import require_as_generated


def test_generated_code_matches_its_proto(tmp_path: Path) -> None:
    require_as_generated("keys/sidecar", "key_provider", tmp_path)


# From microsoft/confidential-sidecar-containers, pkg/grpc/key_provider/key_provider.proto.
THEIRS = {
    "KeyProviderKeyWrapProtocolInput": "key_provider_key_wrap_protocol_input=1",
    "KeyProviderKeyWrapProtocolOutput": "key_provider_key_wrap_protocol_output=1",
    "KeyProviderGetReportInput": "report_data_hex_string=1",
    "KeyProviderGetReportOutput": "report_hex_string=1",
    "KeyProviderGetAttestationDataInput": "b64_runtime_data_string=1",
    "KeyProviderGetAttestationDataOutput": "endorsed_tcb=1 certs=2 attestation_report=3 "
    "uvm_reference_info=4",
    "HelloRequest": "name=1",
    "HelloReply": "message=1",
}


@pytest.mark.parametrize("name", THEIRS)
def test_field_numbers_are_theirs(name: str) -> None:
    descriptor = pb.DESCRIPTOR.message_types_by_name[name]
    assert " ".join(f"{f.name}={f.number}" for f in descriptor.fields) == THEIRS[name]


def test_the_calls_are_theirs() -> None:
    service = pb.DESCRIPTOR.services_by_name["KeyProviderService"]
    assert service.full_name == "key_provider.KeyProviderService"
    names = [method.name for method in service.methods]
    assert names == ["WrapKey", "UnWrapKey", "GetReport", "GetAttestationData", "SayHello"]
