"""Before its first caller a model is warm, and known to share its runs or not."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from onnx import TensorProto

from sealserve.inference.server.config import ModelOptions
from sealserve.inference.server.made_up import warm_up
from sealserve.inference.server.preparing import prepared
from sealserve.inference.server.registry import ServedSession
from sealserve.inference.server.runtime import Session
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.spec import TensorSpec
from sealserve.inference.wire.tensor import Tensor
from sealserve.native.errors import ConfigError, InputError
from support.batch_models import dense, node, session


class Recording:
    """Takes any rows, and remembers the shapes of its runs. time: called in each run."""

    outputs = (TensorSpec("y", "FP32", (-1,)),)

    def __init__(self, *inputs: TensorSpec, takes: Callable[[Any], bool] = lambda _: True) -> None:
        self.inputs = inputs or (TensorSpec("x", "FP32", (-1, 2)),)
        self.takes = takes
        self.shapes: list[tuple[int, ...]] = []

    def run(self, request: InferRequest) -> tuple[Tensor, ...]:
        shape = request.inputs[0].shape
        self.shapes.append(shape)
        if not self.takes(shape):
            raise InputError("the model does not accept inputs of these shapes")
        rows = shape[0] if shape else 1
        return (Tensor("y", "FP32", (rows,), np.zeros(rows, np.float32)),)


def mixing() -> Session:
    return session([node("Softmax", "x", axis=0)])


def model(loaded: Any, **options: Any) -> ServedSession:
    return ServedSession("net", "1", bytes(32), cast(Session, loaded), ModelOptions(**options))


# ---- warming up


@pytest.fixture
def long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run takes as long as trials may together."""
    monkeypatch.setattr("sealserve.inference.server.made_up._TRIAL_SECONDS", 0.0)


def test_a_short_run_is_tried_more_often() -> None:
    recording = Recording()
    assert 0 < warm_up(recording, 1) < math.inf
    assert 1 < len(recording.shapes) <= 64
    assert set(recording.shapes) == {(1, 2)}


@pytest.mark.usefixtures("long_runs")
@pytest.mark.parametrize("runs", [1, 3])
def test_as_many_runs_as_told_of_one_row(runs: int) -> None:
    recording = Recording()
    assert 0 < warm_up(recording, runs) < math.inf
    assert recording.shapes == [(1, 2)] * runs


def test_no_runs_and_no_time_where_none_is_wanted() -> None:
    recording = Recording()
    assert warm_up(recording, 0) == math.inf
    assert recording.shapes == []


@pytest.mark.usefixtures("long_runs")
def test_a_size_that_the_model_takes_is_looked_for() -> None:
    images = TensorSpec("x", "FP32", (-1, 3, -1, -1))
    recording = Recording(images, takes=lambda shape: shape[2] >= 32)
    assert warm_up(recording, 2) < math.inf
    assert recording.shapes == [(1, 3, 1, 1), (1, 3, 8, 8), (1, 3, 32, 32), (1, 3, 32, 32)]


def test_a_model_that_takes_nothing_made_up_is_left_to_its_callers() -> None:
    recording = Recording(takes=lambda _: False)
    assert warm_up(recording, 3) == math.inf
    assert len(recording.shapes) == 1


@pytest.mark.usefixtures("long_runs")
def test_fixed_shapes_and_numbers_are_taken_as_they_are() -> None:
    recording = Recording(TensorSpec("x", "FP32", (4, 2)))
    warm_up(recording, 1)
    number = Recording(TensorSpec("x", "INT64", ()))
    warm_up(number, 1)
    assert (recording.shapes, number.shapes) == ([(4, 2)], [()])


@pytest.mark.parametrize(
    "kind", [TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.BOOL, TensorProto.FLOAT16]
)
def test_every_type_can_be_made_up(kind: int) -> None:
    echo = session([node("Identity", "x")], takes=[("x", kind, ("n", 2))], gives=[("y", kind)])
    assert warm_up(echo, 1) < math.inf


# ---- sharing runs


def test_a_model_that_is_declared_and_passes_shares_its_runs(server_log: io.StringIO) -> None:
    ready = prepared(model(dense()), declared=True)
    assert ready.shares_runs
    assert ready.run_seconds < math.inf
    assert server_log.getvalue() == ""


def test_nothing_is_tested_that_nobody_declared(server_log: io.StringIO) -> None:
    recording = Recording()
    assert not prepared(model(recording, warm_up_runs=1), declared=False).shares_runs
    assert set(recording.shapes) == {(1, 2)}
    assert server_log.getvalue() == ""


def test_nothing_is_tested_that_shall_not_share(server_log: io.StringIO) -> None:
    recording = Recording()
    off = prepared(model(recording, warm_up_runs=1, batching="off"), declared=True)
    assert not off.shares_runs
    assert set(recording.shapes) == {(1, 2)}
    assert server_log.getvalue() == ""


def test_a_model_that_is_declared_and_fails_is_served_without_and_the_log_says_why(
    server_log: io.StringIO,
) -> None:
    ready = prepared(model(mixing()), declared=True)
    assert not ready.shares_runs
    line = json.loads(server_log.getvalue())
    del line["time"]
    assert line == {
        "event": "batching_off",
        "model": "net",
        "version": "1",
        "why": "rows change each other",
    }


@pytest.mark.parametrize(
    ("loaded", "declared", "said"),
    [(mixing, True, "rows change each other"), (dense, False, "did not declare")],
    ids=["a model that fails", "a model nobody declared"],
)
def test_batching_that_is_required_and_cannot_be(
    loaded: Callable[[], Session], declared: bool, said: str, server_log: io.StringIO
) -> None:
    with pytest.raises(ConfigError, match=f"model net version 1: .*{said}") as refused:
        prepared(model(loaded(), batching="required"), declared=declared)
    assert refused.value.hint
    assert server_log.getvalue() == ""


def test_batching_that_is_required_and_can_be() -> None:
    assert prepared(model(dense(), batching="required"), declared=True).shares_runs


@pytest.mark.parametrize(
    ("seconds", "running"),
    [({1: 1.0, 8: 2.0}, 1), ({1: 1.0, 8: 7.0}, None)],
    ids=["a batch is much faster", "a batch is hardly faster"],
)
def test_one_turn_at_a_time_where_company_is_worth_it(
    seconds: dict[int, float], running: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sealserve.inference.server.preparing.warm_up",
        lambda _session, _runs, rows=1: seconds[rows],
    )
    ready = prepared(model(dense()), declared=True)
    assert ready.options.running == running
    told = prepared(model(dense(), running=2), declared=True)
    assert told.options.running == 2
    alone = prepared(model(mixing()), declared=True)
    assert alone.options == dataclasses.replace(ModelOptions())
