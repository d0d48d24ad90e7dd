"""What a status of the server means to the caller of a client."""

from __future__ import annotations

from collections.abc import Iterable

import grpc

from sealserve.inference.wire.names import RETRY_PUSHBACK_KEY
from sealserve.native.errors import (
    ConfigError,
    InputError,
    PolicyViolation,
    SealserveError,
    UnavailableError,
)

_MAX_WORDS = 400
_NOT_NOW = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)


def our_error(error: grpc.RpcError, what: str) -> SealserveError:
    """The error that a failed call means. what: the call, for the message."""
    code = error.code()
    words = f"{what}: {_printable(error.details() or code.name)}"
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return PolicyViolation(words, hint="the server changed its model: attest again")
    if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
        return InputError(words)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return ConfigError(words, hint="the server wants a caller's token")
    seconds = _pushback_seconds(error.trailing_metadata() or ())
    hint = "" if code in _NOT_NOW else f"the server answered {code.name}"
    return UnavailableError(words, retry_after_seconds=seconds, hint=hint)


def worth_a_new_start(error: grpc.RpcError) -> bool:
    """Whether the server may be gone, restarted or have changed its certificate."""
    return error.code() is grpc.StatusCode.UNAVAILABLE


def another_root(error: grpc.RpcError) -> bool:
    """Whether the server runs another model under that name than the root we named."""
    return error.code() is grpc.StatusCode.FAILED_PRECONDITION


def _pushback_seconds(metadata: Iterable[tuple[str, str | bytes]]) -> float:
    for key, value in metadata:
        if key == RETRY_PUSHBACK_KEY and str(value).isdigit() and len(value) < 9:
            return int(value) / 1000
    return 0.0


def _printable(words: str) -> str:
    """A server's words go to a terminal: nothing in them may move its cursor."""
    return "".join(c if c.isprintable() else "?" for c in words[:_MAX_WORDS])
