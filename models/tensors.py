"""Finds every tensor of an ONNX model, says how large it is and where its bytes stand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from sealserve.models.content import FileRange, SourceFile
from sealserve.native.errors import InputError

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

# onnx.proto3, TensorProto.DataType and what it says of packing: 4-bit types two to a byte, 2-bit
# types four. Types that are not here stay in the graph untouched.
BITS = {
    **dict.fromkeys(("UINT2", "INT2"), 2),
    **dict.fromkeys(("UINT4", "INT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("UINT8", "INT8", "BOOL"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    "FLOAT8E8M0": 8,
    **dict.fromkeys(("UINT16", "INT16", "FLOAT16", "BFLOAT16"), 16),
    **dict.fromkeys(("UINT32", "INT32", "FLOAT"), 32),
    **dict.fromkeys(("UINT64", "INT64", "DOUBLE", "COMPLEX64"), 64),
    "COMPLEX128": 128,
}
_NUMBER = re.compile(r"[0-9]{1,18}")
_KEYS = {"location", "offset", "length", "checksum"}  # onnx docs/ExternalData.md

Locate = Callable[[str], SourceFile]  # the file that a tensor's `location` names


def all_tensors(model: ModelProto) -> Iterator[tuple[TensorProto, bool]]:
    """Every tensor, and whether its bytes may stand outside the graph."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
        yield from _of_attributes(function.attribute_proto, movable=False)
    for training in model.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)


def byte_size(tensor: TensorProto) -> int | None:
    """Bytes of the tensor by shape and type; None for strings and types we do not know."""
    from onnx import TensorProto

    names = TensorProto.DataType.values()
    known = tensor.data_type in names
    bits = BITS.get(TensorProto.DataType.Name(tensor.data_type)) if known else None
    if bits is None:
        return None
    if any(size < 0 for size in tensor.dims):
        raise InputError(f"tensor {tensor.name!r} has the shape {list(tensor.dims)}")
    return -(-math.prod(tensor.dims) * bits // 8)


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor's bytes stand in a file."""
    from onnx import TensorProto

    return tensor.data_location == TensorProto.EXTERNAL


def external_range(tensor: TensorProto, locate: Locate) -> FileRange:
    """Where an external tensor's bytes are. Raises InputError unless that is inside a file."""
    from onnx import TensorProto

    entries = [(entry.key, entry.value) for entry in tensor.external_data]
    places = dict(entries)
    if len(places) != len(entries) or "location" not in places or not places.keys() <= _KEYS:
        raise InputError(
            f"tensor {tensor.name!r} has external data {[key for key, _ in entries]};"
            f" wanted location, offset and length, each once"
        )
    if tensor.data_type == TensorProto.STRING:
        raise InputError(f"tensor {tensor.name!r} holds strings; they cannot be external data")
    file = locate(places["location"])
    offset = _number(tensor, "offset", places.get("offset", "0"))
    size = _external_bytes(tensor, file.size - offset, places.get("length"))
    if offset + size > file.size:
        raise InputError(
            f"tensor {tensor.name!r} takes bytes {offset} to {offset + size} of"
            f" {places['location']!r}, which has {file.size}",
            hint="the weights file is cut, or belongs to another model",
        )
    return FileRange(file, offset, size)


def point_to(tensor: TensorProto, location: str, offset: int, size: int) -> None:
    """Make the tensor's bytes stand in an entry."""
    from onnx import TensorProto

    _clear_data(tensor)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)


def put_inline(tensor: TensorProto, data: bytes) -> None:
    """Make the tensor's bytes stand in the graph."""
    _clear_data(tensor)
    tensor.raw_data = data


def inline_bytes(tensor: TensorProto, size: int) -> bytes:
    """The `size` bytes of a tensor in the graph, little-endian, whichever field holds them.

    Raises InputError for another number of bytes.
    """
    from onnx import numpy_helper

    data = tensor.raw_data
    if not tensor.HasField("raw_data"):
        try:
            data = numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
        except (ValueError, TypeError) as error:
            raise InputError(f"tensor {tensor.name!r} does not hold what it says") from error
    if len(data) != size:
        raise InputError(
            f"tensor {tensor.name!r} has {len(data)} bytes; its shape {list(tensor.dims)} takes"
            f" {size}"
        )
    return bytes(data)


def _clear_data(tensor: TensorProto) -> None:
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
        tensor.ClearField(field)
    for field in ("uint64_data", "external_data", "data_location"):
        tensor.ClearField(field)


def _external_bytes(tensor: TensorProto, rest: int, length: str | None) -> int:
    """By shape if we can tell, else by `length`, else up to the end of the file."""
    by_shape = byte_size(tensor)
    given = None if length is None else _number(tensor, "length", length)
    if by_shape is not None and given not in (None, by_shape):
        raise InputError(
            f"tensor {tensor.name!r} has {given} bytes of external data; its shape"
            f" {list(tensor.dims)} takes {by_shape}"
        )
    sizes = [size for size in (by_shape, given) if size is not None]
    return sizes[0] if sizes else max(rest, 0)


def _number(tensor: TensorProto, key: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InputError(f"tensor {tensor.name!r} has the {key} {text[:40]!r}; wanted a number")
    return int(text)


def _of_graph(graph: GraphProto) -> Iterator[tuple[TensorProto, bool]]:
    for tensor in graph.initializer:
        yield tensor, True
    for sparse in graph.sparse_initializer:
        yield sparse.values, True
        yield sparse.indices, True
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[tuple[TensorProto, bool]]:
    for node in nodes:
        # Runtimes turn a Constant into an initializer; other operators read their attributes
        # themselves, and look for the bytes nowhere but there.
        movable = node.op_type == "Constant" and node.domain in ("", "ai.onnx")
        yield from _of_attributes(node.attribute, movable=movable)


def _of_attributes(
    attributes: Iterable[AttributeProto], *, movable: bool
) -> Iterator[tuple[TensorProto, bool]]:
    for attribute in attributes:
        single = [attribute.t] if attribute.HasField("t") else []
        for tensor in (*single, *attribute.tensors):
            yield tensor, movable
        sparse_one = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for sparse in (*sparse_one, *attribute.sparse_tensors):
            yield sparse.values, movable
            yield sparse.indices, movable
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _of_graph(graph)
