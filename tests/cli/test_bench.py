"""`sealserve bench`: it asks a verified server only, tells what it saw, and stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client.inputs import tensors
from sealserve.inference.client.load import Measured, random_inputs
from sealserve.inference.wire import names
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.spec import ModelMetadata, TensorSpec
from support import client_case as case
from support.client_cli import Clinic
from support.client_server import MODEL, LiveServer, failing
from support.models_cli import Ran

BRIEF = ("--seconds", "0.2", "--warm-up", "0.05", "--in-flight", "3")


@pytest.fixture
def clinic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], simulated_root: SimulatedRoot
) -> Clinic:
    return Clinic(tmp_path, capsys, simulated_root)


@pytest.fixture
def server(simulated_root: SimulatedRoot) -> Iterator[LiveServer]:
    with case.live(case.machine(simulated_root)) as live:
        yield live


def bench(clinic: Clinic, target: str, *options: str) -> Ran:
    return clinic.run("bench", target, MODEL, "--trust", "trust.toml", *BRIEF, *options)


def test_what_it_tells(clinic: Clinic, server: LiveServer) -> None:
    ran = bench(clinic, server.target, "--json", "--rows", "4")
    assert ran.status == 0
    told = ran.json
    assert (told["model"], told["in_flight"], told["inputs"]) == (MODEL, 3, {"x": [4, 3]})
    assert 0 < told["answers"] <= server.record.count(names.MODEL_INFER)
    assert told["failures"] == {}
    latencies = told["latency_ms"]
    assert 0 < latencies["p50"] <= latencies["p90"] <= latencies["p99"] <= latencies["max"]
    assert told["per_second"] == pytest.approx(told["answers"] / told["seconds"], rel=0.01)
    assert "SIMULATED PLATFORM" in ran.err


def test_as_text(clinic: Clinic, server: LiveServer) -> None:
    ran = bench(clinic, server.target)
    assert ran.out.startswith(f"{MODEL}: x [1, 3]; 3 in flight for 0.")
    assert "answers a second; failed: none" in ran.out
    assert "milliseconds: p50 " in ran.out


def test_no_answer_that_was_good(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    rewrites = {names.MODEL_INFER: failing(grpc.StatusCode.INTERNAL, times=10**9)}
    with case.live(case.machine(simulated_root), rewrites=rewrites) as server:
        ran = bench(clinic, server.target)
    assert ran.status == 10
    assert "on purpose" in ran.err


def test_failures_are_counted(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    """Not as answers. Each of those who ask goes on after one."""
    turn = iter(range(10**9))

    async def every_other(data: bytes, context: Any) -> bytes:
        if next(turn) % 2:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return data

    rewrites = {names.MODEL_INFER: every_other}
    with case.live(case.machine(simulated_root), rewrites=rewrites) as server:
        told = bench(clinic, server.target, "--json", "--in-flight", "4").json
        asked = server.record.count(names.MODEL_INFER)
    assert told["failures"].keys() == {"UnavailableError"}
    assert told["answers"] + told["failures"]["UnavailableError"] <= asked


def test_nobody_else_is_asked(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root, "debug")) as bad:
        assert bench(clinic, bad.target).status == 6
        assert bad.record.calls == []


def test_a_model_nobody_approved(clinic: Clinic, server: LiveServer) -> None:
    ran = clinic.run("bench", server.target, "lung", "--trust", "trust.toml", *BRIEF)
    assert ran.status == 6


def test_percentiles_are_latencies_that_were_seen() -> None:
    measured = Measured(2.0, (1.0, 2.0, 3.0, 4.0), {})
    assert [measured.percentile(p) for p in (0, 25, 50, 51, 99, 100)] == [1, 1, 2, 3, 4, 4]
    assert measured.per_second == 2.0


def test_values_of_every_type_fit_the_model() -> None:
    specs = tuple(TensorSpec(name, name, (-1, -1, 2)) for name in DATA_TYPES)
    inputs = random_inputs(ModelMetadata("net", (), "", specs, ()), rows=5)
    for one in tensors(inputs, specs, "safe"):
        assert one.shape == (5, 1, 2)
    assert np.ptp(inputs["FP32"]) > 0
    scalar = TensorSpec("s", "FP32", ())
    assert random_inputs(ModelMetadata("net", (), "", (scalar,), ()), rows=5)["s"].shape == ()
