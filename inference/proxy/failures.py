"""What a local program is told when its call failed: the server's own status, or one of ours."""

from __future__ import annotations

from typing import Any, Final

import grpc

from sealserve.inference.client.status import code_of
from sealserve.inference.wire.names import MODEL_ROOT_KEY, RETRY_PUSHBACK_KEY
from sealserve.native.errors import SealserveError

Status = tuple[Any, str, tuple[tuple[str, str], ...]]  # what `abort` takes
_MAX_WORDS: Final = 500  # they travel as an HTTP/2 header, of which clients take 8 KiB
_PASSED_ON: Final = frozenset({MODEL_ROOT_KEY, RETRY_PUSHBACK_KEY})


class CallFailedError(Exception):
    """A verified server ended the call; `status` is its own."""

    def __init__(self, error: grpc.RpcError, _what: str = "") -> None:
        super().__init__()
        self.status = server_status(error.code(), error.details(), error.trailing_metadata())


def server_status(code: grpc.StatusCode, words: str | None, trailing: Any) -> Status:
    """A server's own status, with what belongs to it of its metadata."""
    return code, (words or "")[:_MAX_WORDS], passed_on(trailing)


def passed_on(trailing: Any) -> tuple[tuple[str, str], ...]:
    """The metadata of an answer that a local program gets: nothing that we do not know."""
    return tuple((key, str(value)) for key, value in trailing or () if key in _PASSED_ON)


def our_status(error: Exception) -> Status | None:
    """The status of a failure on our side; None for what nobody foresaw."""
    if isinstance(error, CallFailedError):
        return error.status
    if isinstance(error, SealserveError):
        return code_of(error), error.message[:_MAX_WORDS], ()
    return None
