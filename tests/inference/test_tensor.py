"""Tensors between wire and numpy: all types there and back, and every lie about them refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sealserve.inference.wire import bfloat16
from sealserve.inference.wire.datatypes import DATA_TYPES, data_type
from sealserve.inference.wire.tensor import Tensor, element_count, from_raw, from_typed, to_raw
from sealserve.native.errors import InputError

FIXED = [kind for kind in DATA_TYPES.values() if kind.storage is not None]


@pytest.mark.parametrize("kind", FIXED, ids=lambda kind: kind.name)
@given(data=st.data())
def test_fixed_types_go_there_and_back(kind, data) -> None:
    array = data.draw(hnp.arrays(kind.storage, hnp.array_shapes(min_dims=0, min_side=0)))
    raw = to_raw(Tensor("x", kind.name, array.shape, array))
    back = from_raw("x", kind.name, array.shape, raw)
    assert back.data.dtype == kind.storage
    assert back.data.tobytes() == array.tobytes()
    assert back.data.shape == array.shape


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_bytes_go_there_and_back(elements: list[bytes]) -> None:
    data = np.empty(len(elements), dtype=object)
    data[:] = elements
    raw = to_raw(Tensor("x", "BYTES", data.shape, data))
    assert from_raw("x", "BYTES", data.shape, raw).data.tolist() == elements


def test_raw_contents_are_little_endian() -> None:
    assert bytes(to_raw(Tensor("x", "INT32", (1,), np.array([1], "<i4")))) == b"\x01\0\0\0"


def test_an_aligned_tensor_is_a_view_and_an_unaligned_one_a_copy() -> None:
    store = np.zeros(17, np.uint8)
    at = (-store.ctypes.data) % 8
    aligned = from_raw("x", "FP64", (1,), store.data[at : at + 8])
    assert np.shares_memory(aligned.data, store)
    shifted = from_raw("x", "FP64", (1,), store.data[at + 1 : at + 9])
    assert not np.shares_memory(shifted.data, store)
    assert shifted.data.flags.aligned


LIES = {
    "one byte missing": ("FP32", (2,), bytes(7)),
    "one byte more": ("FP32", (2,), bytes(9)),
    "another type's size": ("FP64", (2,), bytes(8)),
    "a negative dimension": ("FP32", (-1,), bytes(4)),
    "two negative dimensions": ("FP32", (-2, -2), bytes(16)),
    "a product past 64 bits": ("FP32", (2**32, 2**32), b""),
    "a product that wraps to the right size": ("UINT8", (2**33, 2**31), b""),
    "an empty tensor with a huge dimension": ("UINT8", (0, 2**62), b""),
    "33 dimensions": ("UINT8", (1,) * 33, bytes(1)),
    "an unknown type": ("FLOAT", (1,), bytes(4)),
    "a BOOL that is 2": ("BOOL", (1,), b"\x02"),
    "BYTES with too many elements": ("BYTES", (2**39,), bytes(8)),
    "BYTES that run past the end": ("BYTES", (1,), b"\x05\0\0\0abc"),
    "BYTES with something after": ("BYTES", (1,), b"\x01\0\0\0abc"),
    "BYTES without a whole length": ("BYTES", (1,), b"\x01\0"),
}


@pytest.mark.parametrize("name", LIES)
def test_raw_lies_are_refused(name: str) -> None:
    datatype, shape, raw = LIES[name]
    with pytest.raises(InputError):
        from_raw("x", datatype, shape, memoryview(raw))


def test_a_scalar_has_one_element() -> None:
    assert element_count("x", ()) == 1


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", [True, False]),
        ("INT8", [-128, 127]),
        ("UINT16", [0, 65535]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("FP32", [1.5, -0.0]),
        ("FP64", [1e300, 0.1]),
        ("BYTES", [b"", b"\xff"]),
    ],
)
def test_typed_values(datatype: str, values: list[object]) -> None:
    tensor = from_typed("x", datatype, (2, 1), values)
    assert tensor.data.reshape(-1).tolist() == values
    assert tensor.data.shape == (2, 1)
    assert tensor.data.dtype == (data_type(datatype).storage or np.dtype(object))


@pytest.mark.parametrize(
    ("datatype", "values"),
    [("INT8", [128]), ("INT8", [-129]), ("UINT8", [256]), ("UINT16", [65536]), ("FP32", [1, 2])],
)
def test_typed_lies_are_refused(datatype: str, values: list[object]) -> None:
    with pytest.raises(InputError):
        from_typed("x", datatype, (1,), values)


def test_bfloat16_bits_are_the_upper_half_rounded_to_even() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -2.0, np.inf, np.nan, 3.4e38], np.float32)
    bits = bfloat16.to_bits(values)
    assert [hex(b) for b in bits[:5]] == ["0x3f80", "0x3f80", "0x3f82", "0xc000", "0x7f80"]
    back = bfloat16.from_bits(bits)
    assert np.isnan(back[5])
    assert np.isinf(back[6])  # the largest BF16 is 3.39e38, and rounding goes to nearest


def test_bfloat16_knows_what_it_can_hold() -> None:
    assert bfloat16.is_exact(np.array([1.5, -0.25, np.inf], np.float32))
    assert not bfloat16.is_exact(np.array([0.1], np.float32))
