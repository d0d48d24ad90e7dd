"""A message cut apart is what protobuf would have read; what is no message is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.inference.wire import message
from sealserve.inference.wire.open_inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelStreamInferResponse,
)
from sealserve.native.errors import InputError

RAW = 7
FIELDS = 16


@given(
    name=st.text(max_size=8),
    raw=st.lists(st.binary(max_size=300), max_size=4),
    number=st.integers(-(2**63), 2**63 - 1),
)
def test_split_agrees_with_protobuf(name: str, raw: list[bytes], number: int) -> None:
    whole = ModelInferRequest(
        model_name=name,
        parameters={"p": InferParameter(int64_param=number)},
        raw_input_contents=raw,
    )
    rest, (pieces,) = message.split(whole.SerializeToString(), RAW, max_fields=FIELDS)
    assert [bytes(piece) for piece in pieces] == raw
    head = ModelInferRequest.FromString(rest)
    whole.ClearField("raw_input_contents")
    assert head == whole
    assert ModelInferRequest.FromString(message.join(rest, RAW, pieces)).raw_input_contents == raw


def test_pieces_between_other_fields_are_found() -> None:
    a = message.join(ModelInferRequest(model_name="a").SerializeToString(), RAW, [memoryview(b"1")])
    b = message.join(ModelInferRequest(id="b").SerializeToString(), RAW, [memoryview(b"2")])
    rest, (pieces,) = message.split(a + b, RAW, max_fields=FIELDS)
    assert [bytes(piece) for piece in pieces] == [b"1", b"2"]
    assert ModelInferRequest.FromString(rest) == ModelInferRequest(model_name="a", id="b")


def test_pieces_are_views_of_the_message() -> None:
    whole = message.join(b"", RAW, [memoryview(b"tensor")])
    _, ((piece,),) = message.split(whole, RAW, max_fields=FIELDS)
    assert piece.obj is whole


NOT_MESSAGES = {
    "length past the end": b"\x3a\x05abc",
    "length of 2**60": b"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x10a",
    "varint cut": b"\x08\x80",
    "varint of eleven bytes": b"\x08" + b"\x80" * 10 + b"\x01",
    "tag without value": b"\x3a",
    "tag over 32 bits": b"\xf8\xff\xff\xff\xff\x01\x00",
    "field number 0": b"\x02\x00",
    "group": b"\x0b\x0c",
    "wire type 7": b"\x0f",
    "fixed64 cut": b"\x09abc",
    "fixed32 cut": b"\x0dab",
}


@pytest.mark.parametrize("name", NOT_MESSAGES)
def test_refuses_what_is_not_a_message(name: str) -> None:
    with pytest.raises(InputError):
        message.split(NOT_MESSAGES[name], RAW, max_fields=FIELDS)


def test_fixed_width_fields_are_stepped_over() -> None:
    odd = b"\x09\x3a\x01aaaaaa" + b"\x0d\x3a\x01aa" + b"\x3a\x01x"
    rest, (pieces,) = message.split(odd, RAW, max_fields=FIELDS)
    assert [bytes(piece) for piece in pieces] == [b"x"]
    assert rest == odd[:-3]


def test_the_field_as_a_number_is_not_a_piece() -> None:
    assert message.split(b"\x38\x01", RAW, max_fields=FIELDS) == (b"\x38\x01", [[]])


@given(st.binary(max_size=200))
def test_any_bytes_split_or_refuse(data: bytes) -> None:
    try:
        rest, (pieces,) = message.split(data, RAW, max_fields=FIELDS)
    except InputError:
        return
    assert len(rest) + sum(len(piece) for piece in pieces) <= len(data)


# ---- what a message costs


class Counted:
    """The numbers `split` reads, counted: two or three for each field it steps over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.numbers = 0
        self._varint = message._varint
        monkeypatch.setattr(message, "_varint", self)

    def __call__(self, *arguments: Any) -> Any:
        self.numbers += 1
        return self._varint(*arguments)


TINY_FIELDS = {
    "the field, empty": b"\x3a\0",
    "another field, empty": b"\x32\0",
    "a number": b"\x08\0",
}


@pytest.mark.parametrize("tiny", TINY_FIELDS.values(), ids=TINY_FIELDS.keys())
def test_as_many_fields_as_allowed_and_not_one_more(
    tiny: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest, (pieces,) = message.split(FIELDS * tiny, RAW, max_fields=FIELDS)
    assert len(rest) // 2 + len(pieces) == FIELDS
    counted = Counted(monkeypatch)
    with pytest.raises(InputError, match=f"more than {FIELDS} fields"):
        message.split((1 << 20) * tiny, RAW, max_fields=FIELDS)
    assert counted.numbers <= 3 * FIELDS


def test_several_fields_are_cut_out_at_once() -> None:
    whole = b"\x3a\x011" + b"\x0a\x01m" + b"\x2a\x01i" + b"\x3a\x012"
    rest, (raw, inputs, none) = message.split(whole, RAW, 5, 9, max_fields=FIELDS)
    assert (rest, none) == (b"\x0a\x01m", [])
    assert [bytes(piece) for piece in raw] == [b"1", b"2"]
    assert [bytes(piece) for piece in inputs] == [b"i"]


@given(raw=st.lists(st.binary(max_size=300), max_size=4))
def test_a_message_inside_another_is_what_protobuf_reads(raw: list[bytes]) -> None:
    head = ModelInferRequest(model_name="m").SerializeToString()
    content = message.parts(head, RAW, [memoryview(piece) for piece in raw])
    outer = b"".join(message.inside(2, content))
    read = ModelStreamInferResponse.FromString(outer)
    assert read.infer_response.SerializeToString() == b"".join(content)
