"""The model's name, and nothing else of a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.inference.proxy.head import ABOUT_A_MODEL, ABOUT_NONE, model_of
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.infer import MAX_FIELDS
from sealserve.native.errors import InputError

NAME = "breast-cancer"
MESSAGES = {
    names.MODEL_INFER: pb.ModelInferRequest(
        model_name=NAME,
        model_version="7",
        id="9",
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1])],
        raw_input_contents=[b"\1" * 4],
    ),
    names.MODEL_READY: pb.ModelReadyRequest(name=NAME, version="7"),
    names.MODEL_METADATA: pb.ModelMetadataRequest(name=NAME, version="7"),
    names.MODEL_CONFIG: pb.ModelConfigRequest(name=NAME, version="7"),
    names.MODEL_STATISTICS: pb.ModelStatisticsRequest(name=NAME, version="7"),
}


@pytest.mark.parametrize("method", MESSAGES)
def test_the_name_is_the_first_field_of_each_request_about_a_model(method: str) -> None:
    assert model_of(MESSAGES[method].SerializeToString()) == NAME
    assert model_of(MESSAGES[method].__class__().SerializeToString()) == ""


def test_every_call_of_the_protocol_is_one_or_the_other() -> None:
    assert set(MESSAGES) == ABOUT_A_MODEL
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    every = {f"/{service.full_name}/{method.name}" for method in service.methods}
    others = {names.MODEL_STREAM_INFER, names.REPOSITORY_MODEL_LOAD, names.REPOSITORY_MODEL_UNLOAD}
    assert every == ABOUT_A_MODEL | ABOUT_NONE | others


def test_of_several_names_the_last_counts_as_for_protobuf() -> None:
    one = pb.ModelInferRequest(model_name="lung").SerializeToString()
    both = one + pb.ModelInferRequest(model_name=NAME).SerializeToString()
    assert model_of(both) == NAME == pb.ModelInferRequest.FromString(both).model_name


def test_a_name_that_is_no_text() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        model_of(b"\x0a\x01\xff")


def test_more_fields_than_any_request_has() -> None:
    with pytest.raises(InputError, match="fields"):
        model_of(b"\x10\x01" * (MAX_FIELDS + 1))


@given(st.binary(max_size=64))
def test_anything_else_is_refused_in_our_words(data: bytes) -> None:
    try:
        model_of(data)
    except InputError:
        return
