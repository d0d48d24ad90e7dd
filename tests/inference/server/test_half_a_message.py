"""Messages that are announced and do not come, in calls and in streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import names
from support.attestation_simulated import machine_of
from support.raw_grpc import RawCall, announced
from support.server_case import Served, echo, infer_request, loaded, until

BOTH = [names.MODEL_INFER, names.MODEL_STREAM_INFER]
GOOD = infer_request("echo", ("x", "FP32", (1, 2), bytes(8))).SerializeToString()


@pytest.fixture(scope="module")
def served(simulated_root: SimulatedRoot) -> Iterator[Served]:
    with Served(machine_of(simulated_root), loaded("echo", echo(TensorProto.FLOAT))) as server:
        yield server


def streams(served: Served) -> int:
    return len(served.server._service._streams._open)


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("size", [2**31, 2**32 - 1])
def test_two_gigabytes_are_refused_as_soon_as_they_are_announced(
    served: Served, path: str, size: int
) -> None:
    call = RawCall(served.port, path)
    call.send(announced(size))
    assert call.ended()  # and not a byte of the message was sent
    call.close()
    until(lambda: streams(served) == 0)


@pytest.mark.parametrize("path", BOTH)
def test_whoever_stops_in_a_message_gets_an_end(served: Served, path: str) -> None:
    call = RawCall(served.port, path)
    call.send(announced(len(GOOD)) + GOOD[:5], end=True)
    assert call.ended()
    call.close()
    until(lambda: streams(served) == 0)


@pytest.mark.parametrize("sent", [b"", announced(len(GOOD)) + GOOD[:5]], ids=["nothing", "half"])
def test_whoever_goes_away_in_a_stream_leaves_nothing(served: Served, sent: bytes) -> None:
    call = RawCall(served.port, names.MODEL_STREAM_INFER)
    call.send(announced(len(GOOD)) + GOOD + sent)
    until(lambda: streams(served) == 1)
    call.close()
    until(lambda: streams(served) == 0)
    assert served.infer(GOOD).outputs
