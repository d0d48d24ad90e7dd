"""What travels: the Open Inference Protocol's messages as tensors, and the names both sides use.

Names load on first use: an address is read without numpy and protobuf.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sealserve.inference.wire.infer import (
        InferRequest,
        InferResponse,
        decode_request,
        decode_response,
        encode_request,
        encode_response,
    )
    from sealserve.inference.wire.tensor import Tensor

_HOMES = {
    "InferRequest": "infer",
    "InferResponse": "infer",
    "Tensor": "tensor",
    "decode_request": "infer",
    "decode_response": "infer",
    "encode_request": "infer",
    "encode_response": "infer",
}

__all__ = [
    "InferRequest",
    "InferResponse",
    "Tensor",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sealserve.inference.wire' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sealserve.inference.wire.{home}"), name)
