"""What headers ask for, and which are refused."""

from __future__ import annotations

import grpc
import pytest

from sealserve.inference.transport.asked import Asked, read
from sealserve.inference.transport.refusal import NotGrpcError, RefusedError

HEADERS = {
    b":method": b"POST",
    b":scheme": b"https",
    b":path": b"/service/method",
    b"content-type": b"application/grpc",
    b"te": b"trailers",
}


def asked(**changed: bytes | None) -> Asked:
    """Headers that are right but for these; a line stands for a dash, and `_x` for `:x`."""
    new = {name.replace("_", "-").encode(): value for name, value in changed.items()}
    new = {(b":" + name[1:] if name[:1] == b"-" else name): value for name, value in new.items()}
    return read([(n, v) for n, v in {**HEADERS, **new}.items() if v is not None])


def test_a_call() -> None:
    assert asked() == Asked(b"/service/method", (), b"identity", None)


def test_all_that_may_be_asked() -> None:
    assert asked(grpc_timeout=b"2S", grpc_encoding=b"gzip", key=b"value") == Asked(
        b"/service/method", (("key", "value"),), b"gzip", 2.0
    )


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"post", None])
def test_other_methods(method: bytes | None) -> None:
    with pytest.raises(NotGrpcError) as refused:
        asked(_method=method)
    assert refused.value.status == b"405"


TYPES = [b"application/grpc", b"application/grpc+proto", b"application/grpc;charset=utf-8"]
OTHERS = [None, b"", b"application/json", b"application/grpc-web", b"application/grpcx"]


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_grpc(kind: bytes) -> None:
    assert asked(content_type=kind).path == b"/service/method"


@pytest.mark.parametrize("kind", OTHERS)
def test_other_types(kind: bytes | None) -> None:
    """gRPC for browsers among them, whose bodies are others."""
    with pytest.raises(NotGrpcError) as refused:
        asked(content_type=kind)
    assert refused.value.status == b"415"


TIMES = {
    b"1H": 3600.0,
    b"1M": 60.0,
    b"1S": 1.0,
    b"1m": 1e-3,
    b"1u": 1e-6,
    b"1n": 1e-9,
    b"0n": 0.0,
    b"99999999S": 99_999_999.0,
}


@pytest.mark.parametrize(("timeout", "seconds"), TIMES.items())
def test_times(timeout: bytes, seconds: float) -> None:
    assert asked(grpc_timeout=timeout).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "timeout", [b"", b"S", b"1", b"1s", b"-1S", b"1.5S", b" 1S", b"1S\n", b"123456789S", b"\xb2S"]
)
def test_what_is_no_time(timeout: bytes) -> None:
    with pytest.raises(RefusedError, match="up to eight digits") as refused:
        asked(grpc_timeout=timeout)
    assert refused.value.code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("encoding", [b"identity", b"gzip", b"deflate"])
def test_encodings(encoding: bytes) -> None:
    assert asked(grpc_encoding=encoding).encoding == encoding


@pytest.mark.parametrize("encoding", [b"", b"br", b"GZIP", b"gzip, deflate"])
def test_other_encodings(encoding: bytes) -> None:
    with pytest.raises(RefusedError, match="gzip or deflate") as refused:
        asked(grpc_encoding=encoding)
    assert refused.value.code is grpc.StatusCode.UNIMPLEMENTED


def test_metadata_that_is_no_base64() -> None:
    with pytest.raises(RefusedError, match="is base64") as refused:
        asked(raw_bin=b"?")
    assert refused.value.code is grpc.StatusCode.INTERNAL
