"""What the transport itself refuses; the words are listed in docs/refusals.md."""

from __future__ import annotations

import grpc

from sealserve.inference.transport.metadata import Metadata


class RefusedError(Exception):
    """A call that ends with this status before or beside its handler."""

    def __init__(self, code: grpc.StatusCode, words: str, metadata: Metadata = ()) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.metadata = metadata


class NotGrpcError(Exception):
    """A request of HTTP that is no call. status: HTTP's."""

    def __init__(self, status: bytes) -> None:
        super().__init__(status)
        self.status = status
