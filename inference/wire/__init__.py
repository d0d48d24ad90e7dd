"""What travels: the Open Inference Protocol's messages as tensors, and the names both sides use."""

from sealserve.inference.wire.infer import (
    InferRequest,
    InferResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from sealserve.inference.wire.tensor import Tensor

__all__ = [
    "InferRequest",
    "InferResponse",
    "Tensor",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
]
