"""Every call is counted once: under its model, its method, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server.table import (
    METHODS,
    OUTCOMES,
    State,
    Table,
    Timing,
)
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from support.attestation_simulated import machine_of
from support.client_server import Doubler
from support.server_case import Served, doubler, infer_request, root_of, until

ROOT = root_of("doubler").hex()
DOUBLING = infer_request("doubler", ("x", "FP32", (1, 3), bytes(12)))


@pytest.fixture
def served(simulated_root: SimulatedRoot) -> Iterator[Served]:
    machine: Machine = machine_of(simulated_root)
    with Served(machine, doubler()) as server:
        yield server


def counted(table: Table, root: str) -> dict[tuple[str, str], int]:
    """What is not zero."""
    row = table.row(root)
    every = {
        (method, outcome): row.calls(method, outcome) for method in METHODS for outcome in OUTCOMES
    }
    return {key: count for key, count in every.items() if count}


def test_an_answer(served: Served) -> None:
    served.infer(DOUBLING)
    assert counted(served.table, ROOT) == {("ModelInfer", "ok"): 1}
    assert counted(served.table, "") == {}
    assert served.table.row(ROOT).durations(Timing.ANSWERED).count == 1


@pytest.mark.parametrize(
    ("request_", "root", "outcome"),
    [
        (infer_request("absent"), "", "not_found"),
        (infer_request("doubler"), ROOT, "invalid_argument"),
        (b"\xff", "", "invalid_argument"),
    ],
    ids=["unknown model", "no inputs", "no message"],
)
def test_a_refusal(served: Served, request_: bytes, root: str, outcome: str) -> None:
    with pytest.raises(grpc.RpcError):
        served.infer(request_)
    assert counted(served.table, root) == {("ModelInfer", outcome): 1}
    assert served.table.row(root).durations(Timing.FAILED).count == 1
    assert served.table.row(root).durations(Timing.ANSWERED).count == 0


def test_another_root_than_the_one_served(served: Served) -> None:
    with pytest.raises(grpc.RpcError):
        served.infer(DOUBLING, bytes(32))
    assert counted(served.table, ROOT) == {("ModelInfer", "failed_precondition"): 1}


def test_what_is_no_prediction_is_not_timed(served: Served) -> None:
    served.call(names.MODEL_METADATA, pb.ModelMetadataRequest(name="doubler"))
    served.call(names.SERVER_LIVE, b"")
    assert counted(served.table, ROOT) == {("ModelMetadata", "ok"): 1}
    assert counted(served.table, "") == {("ServerLive", "ok"): 1}
    assert not any(served.table.row(root).durations(t).count for root in ("", ROOT) for t in Timing)


def test_a_call_that_its_caller_gives_up(served: Served) -> None:
    session: Doubler = next(iter(served.server._registry)).session  # type: ignore[assignment]
    session.gate.clear()
    call = served.start(names.MODEL_INFER, DOUBLING)
    session.started.wait()
    assert served.table.under_way() == 1
    call.cancel()
    until(lambda: counted(served.table, ROOT) == {("ModelInfer", "cancelled"): 1})
    assert served.table.under_way() == 0
    session.gate.set()


def test_a_server_says_where_it_is(simulated_root: SimulatedRoot) -> None:
    with Served(machine_of(simulated_root), doubler()) as served:
        assert served.table.states() == (State.SERVING,)
        assert served.table.workers_of(ROOT) == 1
    assert served.table.states() == (State.ENDED,)
    assert served.table.workers_of(ROOT) == 0
