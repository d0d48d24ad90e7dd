"""The repository's index, and loading and unloading: on a Unix socket or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.server.commands import Refusal, RefusedCommandError
from sealserve.inference.server.table import FIRST_WORKER, Timing
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.native.errors import UnavailableError
from support.attestation_simulated import machine_of
from support.control_case import ROOT, Control, Socket
from support.server_case import Served, echo, loaded

INVALID = grpc.StatusCode.INVALID_ARGUMENT


# ---- on the public port


@pytest.fixture(scope="module")
def served(simulated_root: SimulatedRoot) -> Iterator[Served]:
    models = [loaded("m", echo(TensorProto.FLOAT), version) for version in ("1", "2")]
    with Served(machine_of(simulated_root), *models) as server:
        yield server


def index(served: Served, **asked: Any) -> list[tuple[str, str, str]]:
    answer = served.call(names.REPOSITORY_INDEX, pb.RepositoryIndexRequest(**asked))
    models = pb.RepositoryIndexResponse.FromString(answer).models
    return [(model.name, model.version, model.state) for model in models]


@pytest.mark.parametrize("ready", [False, True])
def test_the_index_is_what_is_served(served: Served, ready: bool) -> None:
    assert index(served, ready=ready) == [("m", "1", "READY"), ("m", "2", "READY")]


def test_there_are_no_named_repositories(served: Served) -> None:
    request = pb.RepositoryIndexRequest(repository_name="other")
    call = served.start(names.REPOSITORY_INDEX, request)
    assert call.code() is INVALID
    assert "'other' is none" in call.details()


def test_a_server_that_is_being_stopped_has_nothing_ready(simulated_root: SimulatedRoot) -> None:
    with Served(machine_of(simulated_root), loaded("m", echo(TensorProto.FLOAT))) as server:

        async def drain() -> None:
            server.server._service.drain()

        server.loop.run(drain())
        assert index(server) == [("m", "1", "UNAVAILABLE")]
        assert index(server, ready=True) == []


@pytest.mark.parametrize("path", [names.REPOSITORY_MODEL_LOAD, names.REPOSITORY_MODEL_UNLOAD])
def test_nothing_is_loaded_or_unloaded_from_outside(served: Served, path: str) -> None:
    call = served.start(path, pb.RepositoryModelLoadRequest(model_name="m"))
    assert call.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "--model-control" in call.details()
    assert len(index(served)) == 2


# ---- on the operator's socket


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def operator(control: Control, tmp_path: Path) -> Iterator[Socket]:
    socket = Socket(control, tmp_path / "control")
    yield socket
    socket.stop()


Load, Unload = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest
LOAD, UNLOAD = names.REPOSITORY_MODEL_LOAD, names.REPOSITORY_MODEL_UNLOAD
Value = pb.ModelRepositoryParameter


def test_a_model_is_loaded_and_unloaded(operator: Socket, control: Control) -> None:
    assert operator.call(LOAD, Load(model_name="m")).result() == b""
    dependents = {"unload_dependents": Value(bool_param=True)}
    assert operator.call(UNLOAD, Unload(model_name="m", parameters=dependents)).result() == b""
    assert control.done == ["load m", "unload m"]


def bringing(name: str, **value: Any) -> dict[str, Any]:
    return {"model_name": "m", "parameters": {name: Value(**value)}}


REFUSED = {
    "a file": (LOAD, Load(**bringing("file:1/model.onnx", bytes_param=b"x"))),
    "a configuration": (LOAD, Load(**bringing("config", string_param="{}"))),
    "an empty configuration": (LOAD, Load(**bringing("config"))),
    "unload_dependents to load": (LOAD, Load(**bringing("unload_dependents", bool_param=True))),
    "a file to unload": (UNLOAD, Unload(**bringing("file:x", bytes_param=b"x"))),
    "a repository to load from": (LOAD, Load(repository_name="r", model_name="m")),
    "a repository to unload from": (UNLOAD, Unload(repository_name="r", model_name="m")),
    "a file of a megabyte": (LOAD, Load(**bringing("file:x", bytes_param=bytes(1 << 20)))),
}


@pytest.mark.parametrize(("path", "request_"), REFUSED.values(), ids=REFUSED.keys())
def test_a_request_brings_nothing_but_a_name(
    operator: Socket, control: Control, path: str, request_: Any
) -> None:
    assert operator.call(path, request_).code() is INVALID
    assert control.done == []


def test_a_request_without_a_name_means_nothing(operator: Socket, control: Control) -> None:
    """KServe's own messages have the name in another field; they are refused, not misread."""
    for path in (LOAD, UNLOAD):
        assert operator.call(path, Load()).code() is INVALID
        assert operator.call(path, pb.ModelReadyRequest(name="m")).code() is INVALID
    assert control.done == []


ENDS = {
    Refusal.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
    Refusal.LAST_MODEL: grpc.StatusCode.FAILED_PRECONDITION,
    Refusal.NOT_OPENED: grpc.StatusCode.FAILED_PRECONDITION,
    Refusal.BUSY: grpc.StatusCode.UNAVAILABLE,
    Refusal.STOPPING: grpc.StatusCode.UNAVAILABLE,
}


def test_every_refusal_has_its_status() -> None:
    assert set(ENDS) == set(Refusal)


@pytest.mark.parametrize(("refusal", "code"), ENDS.items())
@pytest.mark.parametrize("path", [LOAD, UNLOAD])
def test_an_operator_is_told_why_it_was_refused(
    operator: Socket, control: Control, path: str, refusal: Refusal, code: grpc.StatusCode
) -> None:
    control.fails = RefusedCommandError(refusal)
    call = operator.call(path, Load(model_name="m"))
    assert call.code() is code
    assert call.details() == str(control.fails)


def test_a_supervisor_that_is_gone(operator: Socket, control: Control) -> None:
    control.fails = UnavailableError("the supervisor has ended")
    call = operator.call(LOAD, Load(model_name="m"))
    assert call.code() is grpc.StatusCode.UNAVAILABLE


def test_what_nobody_foresaw_is_not_quoted(operator: Socket, control: Control) -> None:
    control.fails = KeyError("a secret")
    call = operator.call(LOAD, Load(model_name="m"))
    assert call.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in call.details()


def test_an_operator_sees_what_is_not_served_too(operator: Socket) -> None:
    answer = operator.call(names.REPOSITORY_INDEX, pb.RepositoryIndexRequest()).result()
    served, other = pb.RepositoryIndexResponse.FromString(answer).models
    assert (served.name, served.state) == ("m", "READY")
    assert (other.name, other.version) == ("n", "2")
    assert (other.state, other.reason) == ("UNAVAILABLE", "not loaded")


def test_an_operator_sees_what_everybody_asked(operator: Socket) -> None:
    worker = operator.table.slot(FIRST_WORKER)
    row = worker.row_of(bytes.fromhex(ROOT))
    for timing, nanoseconds in (
        (Timing.ANSWERED, 9), (Timing.ANSWERED, 8), (Timing.FAILED, 7),
        (Timing.WAITED, 1), (Timing.WAITED, 2), (Timing.RAN, 3), (Timing.RAN, 4),
    ):  # fmt: skip
        worker.took(row, timing, nanoseconds)
    answer = operator.call(names.MODEL_STATISTICS, pb.ModelStatisticsRequest()).result()
    (told,) = pb.ModelStatisticsResponse.FromString(answer).model_stats
    assert (told.name, told.version) == ("m", "1")
    assert (told.inference_count, told.execution_count) == (2, 2)
    spent = told.inference_stats
    assert (spent.success.count, spent.success.ns) == (2, 17)
    assert (spent.fail.count, spent.fail.ns) == (1, 7)
    assert (spent.queue.ns, spent.compute_infer.ns) == (3, 7)


@pytest.mark.parametrize("path", [names.MODEL_INFER, names.SERVER_LIVE, names.GET_EVIDENCE])
def test_nothing_else_is_answered_there(operator: Socket, path: str) -> None:
    assert operator.call(path, pb.ServerLiveRequest()).code() is grpc.StatusCode.UNIMPLEMENTED
