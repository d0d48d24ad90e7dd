"""One tensor between its wire form and a numpy array; what is said must fit what is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sealserve.inference.wire.datatypes import DataType, data_type
from sealserve.native.errors import InputError

Array = NDArray[np.generic]

# numpy arrays have at most 64 dimensions; no model we met has more than 8.
MAX_DIMENSIONS = 32
# Far above any message limit and far below where a byte count could leave 64 bits.
MAX_ELEMENTS = 2**40
# BYTES become several objects each, on their way to the model and back: some hundred bytes for the
# four that an empty one takes in a message.
MAX_TEXTS = 2**20
_LENGTH_BYTES = 4  # each element of a BYTES tensor follows its little-endian 32-bit length


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named tensor.

    data: has exactly `shape`; BF16 as its uint16 bit pattern, BYTES as an object array of bytes.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array


def element_count(name: str, shape: Sequence[int]) -> int:
    """Product of the dimensions; InputError for a negative, too long or overflowing shape."""
    if len(shape) > MAX_DIMENSIONS:
        raise InputError(
            f"tensor {name!r} has {len(shape)} dimensions; at most {MAX_DIMENSIONS} are accepted"
        )
    count = 1
    largest = 1  # of the dimensions that are not 0: numpy refuses (0, 2**62) too
    for size in shape:
        if size < 0:
            raise InputError(f"tensor {name!r} has a negative dimension: shape {list(shape)}")
        count *= size
        largest *= size or 1
        if largest > MAX_ELEMENTS:
            raise InputError(
                f"tensor {name!r} of shape {list(shape)} has more than {MAX_ELEMENTS} elements"
            )
    return count


def check_shape(name: str, datatype: str, shape: Sequence[int]) -> int:
    """How many elements such a tensor has; InputError if there can be none such."""
    kind = data_type(datatype)
    count = element_count(name, shape)
    if kind.storage is None and count > MAX_TEXTS:
        raise InputError(
            f"tensor {name!r} of shape {list(shape)} has {count} elements; "
            f"{kind.name} may have {MAX_TEXTS}"
        )
    return count


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: memoryview) -> Tensor:
    """A tensor over `raw` itself; copied only where the bytes are not aligned to their type.

    Raises InputError when name, type, shape and bytes do not agree.
    """
    count = check_shape(name, datatype, shape)
    kind = data_type(datatype)
    if kind.storage is None:
        data = _split_elements(name, count, raw)
    else:
        _same_bytes(name, kind, shape, count * kind.item_bytes, raw.nbytes)
        data = _fixed_elements(name, kind.storage, raw)
    return Tensor(name, datatype, tuple(shape), data.reshape(tuple(shape)))


def from_typed(name: str, datatype: str, shape: Sequence[int], values: Sequence[Any]) -> Tensor:
    """A tensor from the values of a typed contents field; InputError when they do not fit."""
    count = check_shape(name, datatype, shape)
    kind = data_type(datatype)
    if len(values) != count:
        raise InputError(
            f"tensor {name!r} has {len(values)} values; shape {list(shape)} needs {count}"
        )
    if kind.storage is None:
        data: Array = np.empty(count, dtype=object)
        data[:] = values
    else:
        data = _in_range(name, kind, kind.storage, values)
    return Tensor(name, datatype, tuple(shape), data.reshape(tuple(shape)))


def to_raw(tensor: Tensor) -> memoryview:
    """The raw contents of a tensor: its own memory if contiguous and little endian, else a copy."""
    kind = data_type(tensor.datatype)
    if kind.storage is None:
        return memoryview(_join_elements(tensor.name, tensor.data.reshape(-1).tolist()))
    if tensor.data.dtype != kind.storage:
        raise TypeError(f"{tensor.datatype} needs {kind.storage}, not {tensor.data.dtype}")
    return np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8).data


def _same_bytes(name: str, kind: DataType, shape: Sequence[int], wanted: int, seen: int) -> None:
    if wanted != seen:
        raise InputError(
            f"tensor {name!r} has {seen} bytes; {kind.name} of shape {list(shape)} needs {wanted}"
        )


def _fixed_elements(name: str, storage: np.dtype[np.generic], raw: memoryview) -> Array:
    if storage.kind == "b" and raw.nbytes and np.frombuffer(raw, np.uint8).max() > 1:
        raise InputError(f"tensor {name!r} is BOOL and has a byte other than 0 and 1")
    # Where a tensor starts inside a message is the sender's accident, and code behind an
    # unaligned float pointer is undefined in C.
    data = np.frombuffer(raw, storage)
    return data if data.flags.aligned else data.copy()


def _in_range(
    name: str, kind: DataType, storage: np.dtype[np.generic], values: Sequence[Any]
) -> Array:
    if storage.kind not in "iu":
        return np.array(values, storage)
    # The 8 and 16 bit types share a 32 bit field, which can carry what does not fit them.
    wide = np.array(values, np.int64 if storage.kind == "i" else np.uint64)
    bounds = np.iinfo(storage.name)
    if wide.size and (wide.min() < bounds.min or wide.max() > bounds.max):
        raise InputError(
            f"tensor {name!r} is {kind.name} ({bounds.min} to {bounds.max}) and has a value outside"
        )
    return wide.astype(storage)


def _split_elements(name: str, count: int, raw: memoryview) -> Array:
    # Each element takes at least its length, so a lying shape cannot make us allocate.
    if count * _LENGTH_BYTES > raw.nbytes:
        raise InputError(f"tensor {name!r} has {raw.nbytes} bytes, too few for {count} elements")
    data: Array = np.empty(count, dtype=object)
    at = 0
    for index in range(count):
        start = at + _LENGTH_BYTES
        size = int.from_bytes(raw[at:start], "little")
        if start + size > raw.nbytes:
            raise InputError(f"tensor {name!r}: element {index} runs past the end of its bytes")
        data[index] = bytes(raw[start : start + size])
        at = start + size
    if at != raw.nbytes:
        raise InputError(f"tensor {name!r} has {raw.nbytes - at} bytes after its last element")
    return data


def _join_elements(name: str, elements: Iterable[object]) -> bytes:
    parts: list[bytes] = []
    for element in elements:
        if not isinstance(element, bytes):
            raise TypeError(f"tensor {name!r}: BYTES elements are bytes, not {type(element)}")
        parts += (len(element).to_bytes(_LENGTH_BYTES, "little"), element)
    return b"".join(parts)
