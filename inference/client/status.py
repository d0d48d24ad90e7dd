"""What a status of the server means to the caller of a client."""

from __future__ import annotations

import math

import grpc

from sealserve.inference.client.clock import TooLateError
from sealserve.inference.wire.names import RETRY_PUSHBACK_KEY
from sealserve.native.errors import (
    ConfigError,
    EvidenceError,
    InputError,
    IntegrityError,
    PolicyViolation,
    SealserveError,
    UnavailableError,
    printable,
)

_MAX_WORDS = 400
_TOO_LONG = ("larger than max", "are the most")  # gRPC's words, and those of our servers
_NOT_NOW = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)

# errors.py says which is which: for programs that know statuses and none of our errors.
_CODES = (
    (IntegrityError, grpc.StatusCode.DATA_LOSS),
    (EvidenceError, grpc.StatusCode.UNAUTHENTICATED),
    (PolicyViolation, grpc.StatusCode.PERMISSION_DENIED),
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (ConfigError, grpc.StatusCode.INVALID_ARGUMENT),
    (TooLateError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
)


def code_of(error: SealserveError) -> grpc.StatusCode:
    """The status that one of our errors is for a program that knows no others."""
    codes = (code for kind, code in _CODES if isinstance(error, kind))
    return next(codes, grpc.StatusCode.INTERNAL)


def our_error(error: grpc.RpcError, what: str) -> SealserveError:
    """The error that a failed call means. what: the call, for the message."""
    code = error.code()
    words = f"{what}: {printable((error.details() or code.name)[:_MAX_WORDS])}"
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return PolicyViolation(words, hint="the server changed its model: attest again")
    if too_long(error):
        return InputError(
            f"{what}: the request or its answer is longer than the other side takes",
            hint="send fewer rows at a time, or ask for fewer outputs",
        )
    if code is grpc.StatusCode.NOT_FOUND:
        return InputError(words, hint="`sealserve check` says which names and versions it has")
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InputError(words)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return ConfigError(words, hint="the server wants a caller's token")
    if code is grpc.StatusCode.DATA_LOSS:
        return IntegrityError(words)
    seconds = pushback_seconds(error) or 0.0
    hint = "" if code in _NOT_NOW else f"the server answered {code.name}"
    return UnavailableError(
        words, retry_after_seconds=seconds if math.isfinite(seconds) else 0.0, hint=hint
    )


def no_evidence(error: grpc.RpcError) -> SealserveError:
    """The error that a failed challenge means: nothing is known of that server yet."""
    what = "no evidence from the server"
    if too_long(error):
        return EvidenceError("evidence_size", f"{what}: its answer is longer than evidence can be")
    meant = our_error(error, what)
    no_such_call = error.code() is grpc.StatusCode.UNIMPLEMENTED
    if no_such_call or not isinstance(meant, ConfigError | UnavailableError):
        return EvidenceError("evidence_refused", meant.message)
    return meant


def another_root(error: grpc.RpcError) -> bool:
    """Whether the server runs another model under that name than the root we named."""
    return error.code() is grpc.StatusCode.FAILED_PRECONDITION


def nobody_answered(error: grpc.RpcError) -> bool:
    """Whether there was no server of ours: gone, restarted, or with another certificate."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and pushback_seconds(error) is None


def too_long(error: grpc.RpcError) -> bool:
    """Whether a message was over somebody's limit; there are words for it, but no status."""
    exhausted = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return exhausted and any(words in (error.details() or "") for words in _TOO_LONG)


def pushback_seconds(error: grpc.RpcError) -> float | None:
    """How long the server wants to be left alone; None if it did not say.

    Anything that is no number of milliseconds means for ever (gRFC A6).
    """
    for key, value in error.trailing_metadata() or ():
        if key == RETRY_PUSHBACK_KEY:
            known = isinstance(value, str) and value.isdecimal() and len(value) < 9
            return int(value) / 1000 if known else math.inf
    return None
