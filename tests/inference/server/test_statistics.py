"""ModelStatistics: what is counted, for whom, and how long it is kept."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.server.config import ModelOptions
from sealserve.inference.server.registry import UnknownModelError
from sealserve.inference.server.statistics import (
    MAX_BATCH_SIZES,
    Connections,
    Counters,
    Times,
    encode_statistics,
)
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from support.attestation_simulated import machine_of
from support.ports import port_of_nobody
from support.raw_grpc import RawCall, announced
from support.server_case import Served, echo, infer_request, loaded, until

TIMES = Times(asked=100, began=110, decoded=130, ran=170, encoded=250)


def test_times_become_the_durations_of_the_protocol() -> None:
    counters = Counters()
    counters.success(TIMES, rows=4)
    counters.success(TIMES, rows=1)
    counters.failure(7)
    (told,) = encode_statistics(pb.ModelStatisticsRequest(), [("m", "1", counters)]).model_stats
    assert (told.name, told.version) == ("m", "1")
    assert (told.inference_count, told.execution_count) == (5, 2)
    assert told.last_inference == int(counters.last * 1000) > 0
    spent = {
        field.name: (value.count, value.ns) for field, value in told.inference_stats.ListFields()
    }
    assert spent == {
        "success": (2, 300),
        "fail": (1, 7),
        "queue": (2, 20),
        "compute_input": (2, 40),
        "compute_infer": (2, 80),
        "compute_output": (2, 160),
    }
    assert [(each.batch_size, each.compute_infer.count) for each in told.batch_stats] == [
        (1, 1),
        (4, 1),
    ]


def test_sizes_of_batches_are_told_apart_only_so_far() -> None:
    counters = Counters()
    for rows in range(1, 2 * MAX_BATCH_SIZES):
        counters.success(TIMES, rows=rows)
        counters.success(TIMES, rows=1)
    assert len(counters.batches) == MAX_BATCH_SIZES
    assert counters.batches[1].count == 2 * MAX_BATCH_SIZES
    assert counters.runs == 2 * (2 * MAX_BATCH_SIZES - 1)


ALL = [("a", "1", Counters()), ("a", "2", Counters()), ("b", "1", Counters())]
ASKED = {
    ("", ""): ["a 1", "a 2", "b 1"],
    ("a", ""): ["a 1", "a 2"],
    ("a", "2"): ["a 2"],
    ("", "1"): ["a 1", "b 1"],
    ("", "9"): [],
}


@pytest.mark.parametrize(("asked", "told"), ASKED.items())
def test_all_models_or_some(asked: tuple[str, str], told: list[str]) -> None:
    request = pb.ModelStatisticsRequest(name=asked[0], version=asked[1])
    answer = encode_statistics(request, ALL)
    assert [f"{each.name} {each.version}" for each in answer.model_stats] == told


@pytest.mark.parametrize("asked", [("c", ""), ("a", "3")])
def test_a_model_that_is_not_there(asked: tuple[str, str]) -> None:
    with pytest.raises(UnknownModelError):
        encode_statistics(pb.ModelStatisticsRequest(name=asked[0], version=asked[1]), ALL)


# ---- connections


class Connection:
    """Stands for one of the transport's."""


def test_a_connection_is_forgotten_with_it() -> None:
    connections = Connections()
    one, other = Connection(), Connection()
    connections.counters(one, b"root").failure(1)
    connections.counters(one, b"root").failure(1)
    connections.counters(other, b"root").failure(1)
    assert connections.of(one)[b"root"].failed == 2
    assert connections.of(other)[b"root"].failed == 1
    del one
    assert len(connections._kept) == 1


def test_whoever_only_asks_takes_no_room() -> None:
    connections = Connections()
    assert connections.of(Connection()) == {}
    assert len(connections._kept) == 0


# ---- of a server


@pytest.fixture
def served(simulated_root: SimulatedRoot) -> Iterator[Served]:
    models = [loaded("m", echo(TensorProto.FLOAT), version) for version in ("1", "2")]
    with Served(machine_of(simulated_root), *models) as server:
        yield server


def asking(*shape: int, version: str = "") -> pb.ModelInferRequest:
    return infer_request("m", ("x", "FP32", shape, bytes(8)), version=version)


def whole(message: bytes) -> bytes:
    return announced(len(message)) + message


def told(channel: grpc.Channel, name: str = "", version: str = "") -> list[pb.ModelStatistics]:
    request = pb.ModelStatisticsRequest(name=name, version=version)
    answer = channel.unary_unary(names.MODEL_STATISTICS)(request.SerializeToString(), timeout=10)
    return list(pb.ModelStatisticsResponse.FromString(answer).model_stats)


def test_a_connection_learns_of_its_own_predictions_alone(served: Served) -> None:
    for _ in range(2):
        served.infer(asking(1, 2))
    assert served.start(names.MODEL_INFER, asking(2, 2)).code() is grpc.StatusCode.INVALID_ARGUMENT
    list(served.stream([asking(1, 2, version="2"), asking(2, 2)]))
    first, second = told(served.channel)
    assert (first.version, first.inference_stats.success.count) == ("1", 2)
    assert (first.inference_count, first.execution_count) == (2, 2)
    assert first.inference_stats.fail.count == 2
    assert (second.version, second.inference_stats.success.count) == ("2", 1)
    for duration in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert getattr(first.inference_stats, duration).ns > 0
    with served.connect() as other:
        assert [each.inference_stats.success.count for each in told(other)] == [0, 0]
        assert [each.last_inference for each in told(other)] == [0, 0]


def test_whoever_has_the_port_next_learns_nothing(served: Served) -> None:
    """Behind a balancer callers share an address, and a port is soon another caller's."""
    request, question = asking(1, 2), pb.ModelStatisticsRequest(name="m", version="1")
    port = port_of_nobody()
    first = RawCall(served.port, names.MODEL_INFER, source_port=port)
    first.send(whole(request.SerializeToString()), end=True)
    assert first.ended()
    assert first.received
    first.reset()
    second = RawCall(served.port, names.MODEL_STATISTICS, source_port=port)
    second.send(whole(question.SerializeToString()), end=True)
    assert second.ended()
    second.close()
    (of_it,) = pb.ModelStatisticsResponse.FromString(second.received[5:]).model_stats
    assert of_it.inference_stats.success.count == 0


def test_nothing_is_kept_of_a_connection_that_ended(served: Served) -> None:
    """Not even until somebody looks for what refers to itself in a circle."""
    kept = served.server._service._connections._kept
    gc.disable()
    try:
        call = RawCall(served.port, names.MODEL_INFER)
        call.send(whole(asking(1, 2).SerializeToString()), end=True)
        assert call.ended()
        assert len(kept) == 1
        call.close()
        until(lambda: len(kept) == 0)
    finally:
        gc.enable()


def test_one_model_or_version_can_be_asked_for(served: Served) -> None:
    assert [each.version for each in told(served.channel, "m")] == ["1", "2"]
    assert [each.version for each in told(served.channel, "m", "2")] == ["2"]
    for name, version in (("absent", ""), ("m", "3")):
        request: Any = pb.ModelStatisticsRequest(name=name, version=version)
        call = served.start(names.MODEL_STATISTICS, request)
        assert call.code() is grpc.StatusCode.NOT_FOUND


def test_rows_are_counted_where_requests_share_runs(simulated_root: SimulatedRoot) -> None:
    """A caller's own rows, and not those of whoever was in the same run."""
    model = dataclasses.replace(loaded("m", echo(TensorProto.FLOAT)), shares_runs=True)
    with Served(machine_of(simulated_root), model) as server:
        for rows in (3, 3, 1):
            server.infer(infer_request("m", ("x", "FP32", (rows, 2), bytes(8 * rows))))
        (of_it,) = told(server.channel)
    assert (of_it.inference_count, of_it.execution_count) == (7, 3)
    assert [(each.batch_size, each.compute_infer.count) for each in of_it.batch_stats] == [
        (1, 1),
        (3, 2),
    ]


def test_a_model_that_shares_runs_is_configured_so(simulated_root: SimulatedRoot) -> None:
    options = ModelOptions(batch_rows=8, batch_delay_ms=2)
    model = dataclasses.replace(
        loaded("m", echo(TensorProto.FLOAT)), shares_runs=True, options=options
    )
    alone = loaded("alone", echo(TensorProto.FLOAT))
    with Served(machine_of(simulated_root), model, alone) as server:
        config, other = (
            pb.ModelConfigResponse.FromString(
                server.call(names.MODEL_CONFIG, pb.ModelConfigRequest(name=name))
            ).config
            for name in ("m", "alone")
        )
    assert (config.max_batch_size, list(config.input[0].dims)) == (8, [2])
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert (other.max_batch_size, list(other.input[0].dims)) == (0, [-1, 2])
