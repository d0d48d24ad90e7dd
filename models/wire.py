"""Takes large tensors out of a serialized ONNX model without loading them.

The file becomes its own external data: a tensor whose bytes stand in it at some offset is replaced
by one that says so. What is left is small and can be parsed, however large the weights are, and
every tensor is then found the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sealserve.native.errors import InputError

if TYPE_CHECKING:
    from google._upb._message import Descriptor as FastDescriptor
    from google.protobuf.descriptor import Descriptor as PlainDescriptor

    Descriptor = PlainDescriptor | FastDescriptor

# Smaller tensors are not worth an offset: SPEC section 6.
LEAST_BYTES = 1024

# onnx.proto3, message TensorProto. In these fields the wire holds the tensor's little-endian bytes.
_RAW_FIELDS = {4: "float_data", 9: "raw_data", 10: "double_data"}
# Every field that can hold data; a tensor with two of them is left for the parser to judge.
_DATA_FIELDS = {4, 5, 6, 7, 9, 10, 11}

# https://protobuf.dev/programming-guides/encoding/
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_DEPTH = 100  # protobuf's own limit for nested messages
_MAX_VARINT = 10


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    wire: int
    start: int  # of the tag
    body: int  # of the value; behind the length, if there is one
    end: int


def lighten(model: memoryview, location: str) -> bytes:
    """The same model, its large tensors pointing into the file it was read from.

    model: a serialized ModelProto. location: the file's name, as external data name it.
    Raises InputError for what is not a protobuf message.
    """
    from onnx import ModelProto  # onnx is for owners only

    return _rewrite(model, (0, len(model)), ModelProto.DESCRIPTOR, location, 0)


def _rewrite(
    model: memoryview, span: tuple[int, int], kind: Descriptor, location: str, depth: int
) -> bytes:
    if depth > _MAX_DEPTH:
        raise InputError(f"the model nests messages more than {_MAX_DEPTH} deep")
    fields = list(_fields(model, *span))
    large = _large_data(fields) if kind.full_name == "onnx.TensorProto" else None
    out = bytearray()
    for field in fields:
        inner = _kind_of(kind, field)
        if large is not None and field is large:
            out += _pointer(location, large)
        elif inner is not None:
            text = _rewrite(model, (field.body, field.end), inner, location, depth + 1)
            out += _varint(field.number << 3 | _BYTES) + _varint(len(text)) + text
        else:
            out += model[field.start : field.end]
    return bytes(out)


def _kind_of(kind: Descriptor, field: _Field) -> Descriptor | None:
    """The message to look into; None where no large tensor can be."""
    if field.wire != _BYTES or field.end - field.body < LEAST_BYTES:
        return None
    described = kind.fields_by_number.get(field.number)
    inner = described.message_type if described is not None else None
    return inner if inner is not None and _can_hold_tensors(inner.full_name) else None


@cache
def _can_hold_tensors(name: str) -> bool:
    return name.removeprefix("onnx.") in {
        "AttributeProto",
        "FunctionProto",
        "GraphProto",
        "NodeProto",
        "SparseTensorProto",
        "TensorProto",
        "TrainingInfoProto",
    }


def _large_data(fields: list[_Field]) -> _Field | None:
    data = [field for field in fields if field.number in _DATA_FIELDS]
    if len(data) != 1 or data[0].number not in _RAW_FIELDS or data[0].wire != _BYTES:
        return None
    return data[0] if data[0].end - data[0].body >= LEAST_BYTES else None


def _pointer(location: str, field: _Field) -> bytes:
    from onnx import TensorProto

    tensor: Any = TensorProto(data_location=TensorProto.EXTERNAL)
    place = {"location": location, "offset": field.body, "length": field.end - field.body}
    for key, value in place.items():
        tensor.external_data.add(key=key, value=str(value))
    return bytes(tensor.SerializeToString())


def _fields(model: memoryview, position: int, end: int) -> Iterator[_Field]:
    while position < end:
        start = position
        tag, position = _read_varint(model, position, end)
        wire, body = tag & 7, position
        if wire == _VARINT:
            _, position = _read_varint(model, position, end)
        elif wire == _BYTES:
            length, body = _read_varint(model, position, end)
            position = body + length
        elif wire in _FIXED:
            position += _FIXED[wire]
        else:
            raise _not_protobuf(start)
        if position > end:
            raise _not_protobuf(start)
        yield _Field(tag >> 3, wire, start, body, position)


def _read_varint(model: memoryview, position: int, end: int) -> tuple[int, int]:
    value = 0
    for i in range(_MAX_VARINT):
        if position + i >= end:
            break
        byte = model[position + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, position + i + 1
    raise _not_protobuf(position)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _not_protobuf(position: int) -> InputError:
    return InputError(
        f"not an ONNX model: byte {position} is not protobuf", hint="is the file complete?"
    )
