"""BF16 between float32, which numpy has, and its bit pattern, which travels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def is_exact(values: NDArray[np.float32]) -> bool:
    """Whether every value survives: BF16 is the upper 16 bits of a float32."""
    return not (np.ascontiguousarray(values).view(np.uint32) & 0xFFFF).any()


def to_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to the nearest BF16, ties to even; a NaN stays a NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    quiet_nan = bits >> 16 | 0x40
    return np.where(np.isnan(values), quiet_nan, rounded).astype(np.uint16)


def from_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 each bit pattern stands for, exactly."""
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32)
