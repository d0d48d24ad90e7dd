"""The data types of the Open Inference Protocol, and how each stands in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sealserve.native.errors import InputError


@dataclass(frozen=True, slots=True)
class DataType:
    """One protocol data type.

    storage: little-endian dtype of the raw contents; None for BYTES, whose elements have lengths.
    typed_field: field of InferTensorContents that may carry it; "" where only raw contents may.
    """

    name: str
    storage: np.dtype[np.generic] | None
    typed_field: str

    @property
    def item_bytes(self) -> int:
        return 0 if self.storage is None else self.storage.itemsize


def _fixed(name: str, code: str, typed_field: str) -> DataType:
    return DataType(name, np.dtype(code), typed_field)


# BF16 has no numpy dtype: inside the wire folder it is its bit pattern, half a float32.
DATA_TYPES = {
    kind.name: kind
    for kind in (
        _fixed("BOOL", "?", "bool_contents"),
        _fixed("UINT8", "u1", "uint_contents"),
        _fixed("UINT16", "<u2", "uint_contents"),
        _fixed("UINT32", "<u4", "uint_contents"),
        _fixed("UINT64", "<u8", "uint64_contents"),
        _fixed("INT8", "i1", "int_contents"),
        _fixed("INT16", "<i2", "int_contents"),
        _fixed("INT32", "<i4", "int_contents"),
        _fixed("INT64", "<i8", "int64_contents"),
        _fixed("FP16", "<f2", ""),
        _fixed("FP32", "<f4", "fp32_contents"),
        _fixed("FP64", "<f8", "fp64_contents"),
        _fixed("BF16", "<u2", ""),
        DataType("BYTES", None, "bytes_contents"),
    )
}


def data_type(name: str) -> DataType:
    """The data type of that name; InputError when the protocol has none."""
    kind = DATA_TYPES.get(name)
    if kind is None:
        raise InputError(
            f"data type {name[:32]!r} is not one of the protocol's: {', '.join(DATA_TYPES)}"
        )
    return kind
