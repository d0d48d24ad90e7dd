"""What a call's headers ask for [grpc/grpc doc/PROTOCOL-HTTP2.md, Requests]."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import grpc

from sealserve.inference.transport import compression
from sealserve.inference.transport.metadata import (
    TYPE,
    Metadata,
    MetadataError,
    Pair,
    caller_metadata,
)
from sealserve.inference.transport.refusal import NotGrpcError, RefusedError

_OF_GRPC: Final = re.compile(re.escape(TYPE) + rb"(?:[+;]|\Z)")  # and not -web, for browsers
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@dataclass(frozen=True, slots=True)
class Asked:
    """path: `/SERVICE/METHOD`. encoding: of messages that are marked as compressed.

    seconds: for how long the caller waits; None if it does not say.
    """

    path: bytes
    metadata: Metadata
    encoding: bytes
    seconds: float | None


def read(headers: Iterable[Pair]) -> Asked:
    """Raises RefusedError, and NotGrpcError for what is HTTP and no call."""
    named = dict(headers)
    if named.get(b":method") != b"POST":
        raise NotGrpcError(b"405")
    if not _OF_GRPC.match(named.get(b"content-type", b"")):
        raise NotGrpcError(b"415")
    encoding = named.get(b"grpc-encoding", compression.IDENTITY)
    if not compression.known(encoding):
        raise RefusedError(
            grpc.StatusCode.UNIMPLEMENTED, "messages may be compressed with gzip or deflate"
        )
    return Asked(named.get(b":path", b""), _metadata(headers), encoding, _seconds(named))


def _metadata(headers: Iterable[Pair]) -> Metadata:
    try:
        return caller_metadata(headers)
    except MetadataError as error:
        raise RefusedError(
            grpc.StatusCode.INTERNAL, "metadata whose name ends in -bin is base64"
        ) from error


def _seconds(named: dict[bytes, bytes]) -> float | None:
    timeout = named.get(b"grpc-timeout")
    if timeout is None:
        return None
    found = _TIMEOUT.fullmatch(timeout)
    if found is None:
        raise RefusedError(
            grpc.StatusCode.INTERNAL,
            "grpc-timeout is up to eight digits and one of H, M, S, m, u, n",
        )
    return int(found[1]) * _UNITS[found[2]]
