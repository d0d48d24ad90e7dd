"""An operator at work: pages, metrics and the control socket of a server with two workers."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.keys import new_identity
from support.attestation_simulated import machine_of
from support.models_sealed import seal_model
from support.resident import family
from support.server_case import PINNED, echo, infer_request, until
from support.server_process import SECONDS, Server, certificate_of, serve, serving

MODELS = ("first", "second")
REQUEST = infer_request("first", ("x", "FP32", (1, 2), np.ones((1, 2), "<f4").tobytes()))
PAGES = ("--status-listen", "0")
CONTROL = ("--model-control", "control.sock")


@dataclass(frozen=True)
class Desk:
    """A folder with sealed models, and how they are served."""

    folder: Path
    machine: Machine
    arguments: tuple[str, ...]

    def serving(self, *more: str) -> AbstractContextManager[Server]:
        return serving(self.folder, (*self.arguments, *more), self.machine)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot) -> Desk:
    folder = tmp_path_factory.mktemp("operator") / "desk"
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    arguments = ["--identity", "owner.key", "--listen", "127.0.0.1:0"]
    for name in MODELS:
        plain = folder / "plain.onnx"
        plain.write_bytes(echo(TensorProto.FLOAT))
        root = seal_model(plain, folder / f"{name}.sealed", keys=keys, name=name).root.hex()
        arguments += [f"{name}.sealed", "--root", root]
    return Desk(folder, machine_of(simulated_root), tuple(arguments))


def page(server: Server, path: str) -> httpx.Response:
    ports = [each["port"] for each in server.events if each["event"] == "status_listening"]
    return httpx.get(f"http://127.0.0.1:{ports[-1]}{path}", trust_env=False, timeout=SECONDS)


def metric(server: Server, name: str, **labels: str) -> float:
    """The value of the one series that has these labels."""
    lines = [
        line
        for line in page(server, "/metrics").text.splitlines()
        if line.startswith((f"{name}{{", f"{name} "))
        and all(f'{label}="{value}"' in line for label, value in labels.items())
    ]
    (line,) = lines
    return float(line.split()[-1])


def predict(server: Server) -> None:
    credentials = grpc.ssl_channel_credentials(certificate_of(server.target).encode())
    own = [*PINNED, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(server.target, credentials, own) as channel:
        channel.unary_unary(names.MODEL_INFER)(REQUEST.SerializeToString(), timeout=SECONDS)


@pytest.fixture(scope="module")
def running(desk: Desk) -> Iterator[Server]:
    with desk.serving("--workers", "2", *PAGES, *CONTROL) as server:
        yield server


@pytest.fixture
def control(desk: Desk, running: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{desk.folder / 'control.sock'}") as channel:
        yield channel


def test_it_lives_and_is_ready_when_it_says_so(running: Server) -> None:
    assert (page(running, "/livez").text, page(running, "/readyz").text) == ("lives\n", "ready\n")
    assert metric(running, "sealserve_workers", state="serving") == 2
    assert metric(running, "sealserve_model_workers", model="first") == 2


def test_every_line_of_the_log_up_to_the_first_call_is_counted(running: Server) -> None:
    logged = Counter(each["event"] for each in running.events)
    assert {event: metric(running, "sealserve_events_total", event=event) for event in logged} == (
        logged
    )


def test_calls_to_any_worker_are_counted_together(running: Server) -> None:
    called = {"model": "first", "method": "ModelInfer", "outcome": "ok"}
    before = metric(running, "sealserve_requests_total", **called)
    for _ in range(8):  # a connection each, and so one worker or the other
        predict(running)
    until(lambda: metric(running, "sealserve_requests_total", **called) == before + 8)
    assert metric(running, "sealserve_run_seconds_count", model="first") == before + 8
    assert metric(running, "sealserve_requests_in_flight") == 0


def index(channel: grpc.Channel) -> dict[str, str]:
    data = channel.unary_unary(names.REPOSITORY_INDEX)(b"", timeout=SECONDS)
    models = pb.RepositoryIndexResponse.FromString(data).models
    return {model.name: model.state for model in models}


def test_models_are_listed_unloaded_and_loaded(running: Server, control: grpc.Channel) -> None:
    assert index(control) == {"first": "READY", "second": "READY"}
    request = pb.RepositoryModelUnloadRequest(model_name="second").SerializeToString()
    control.unary_unary(names.REPOSITORY_MODEL_UNLOAD)(request, timeout=SECONDS)
    assert index(control) == {"first": "READY", "second": "UNAVAILABLE"}
    assert metric(running, "sealserve_model_workers", model="second") == 0
    predict(running)
    request = pb.RepositoryModelLoadRequest(model_name="second").SerializeToString()
    control.unary_unary(names.REPOSITORY_MODEL_LOAD)(request, timeout=SECONDS)
    assert index(control) == {"first": "READY", "second": "READY"}
    until(lambda: metric(running, "sealserve_model_workers", model="second") == 2)
    assert page(running, "/readyz").status_code == 200


def test_totals_are_of_all_callers(running: Server, control: grpc.Channel) -> None:
    predict(running)
    data = control.unary_unary(names.MODEL_STATISTICS)(b"", timeout=SECONDS)
    told = pb.ModelStatisticsResponse.FromString(data).model_stats
    first = next(model for model in told if model.name == "first")
    assert first.inference_stats.success.count >= 1
    assert first.inference_stats.success.ns > 0


def test_what_is_not_on_the_command_line_is_not_loaded(control: grpc.Channel) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="third")
    with pytest.raises(grpc.RpcError) as refused:
        control.unary_unary(names.REPOSITORY_MODEL_LOAD)(request.SerializeToString())
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_operators_process_may_die_and_nobody_notices(desk: Desk, running: Server) -> None:
    """Last of those that share a server."""
    (listener,) = [pid for pid in family(running.process.pid) if listens_on_unix(pid)]
    os.kill(listener, signal.SIGKILL)
    until(lambda: len([e for e in running.events if e["event"] == "status_listening"]) == 2)
    predict(running)
    assert page(running, "/readyz").status_code == 200
    assert stat.S_ISSOCK((desk.folder / "control.sock").lstat().st_mode)


def listens_on_unix(pid: int) -> bool:
    """Whether the socket in the folder is one of its descriptors."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    inodes = {row[6] for row in rows if len(row) == 8 and row[7].endswith("control.sock")}
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except OSError:
            continue
    return any(f"socket:[{inode}]" in links for inode in inodes)


def test_it_ends_with_nothing_left(desk: Desk) -> None:
    with desk.serving(*PAGES, "--model-control", "other.sock") as server:
        assert (desk.folder / "other.sock").exists()
        assert page(server, "/readyz").status_code == 200
        assert server.stop() == (0, "")
    assert not (desk.folder / "other.sock").exists()
    assert server.events[-1]["event"] == "stopped"


def test_nothing_is_offered_unasked(desk: Desk) -> None:
    with desk.serving() as server:
        predict(server)
    events = {event["event"] for event in server.events}
    assert not events & {"status_listening", "control_listening"}


def test_an_address_that_others_reach_is_warned_of(desk: Desk) -> None:
    with desk.serving("--status-listen", "0.0.0.0:0") as server:
        assert page(server, "/livez").status_code == 200
    assert "warning: the status pages are for everybody who reaches 0.0.0.0" in server.err


def test_what_cannot_be_had_keeps_it_from_starting(desk: Desk) -> None:
    """Before a key is fetched, and with nothing listening."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = ("--status-listen", str(other.getsockname()[1]))
        left = serve(desk.folder, [*desk.arguments, *taken], desk.machine)
    assert (left.status, left.listened) == (10, False)
    assert "--status-listen" in left.words
    wrong = ("--model-control", "owner.key")
    left = serve(desk.folder, [*desk.arguments, *wrong], desk.machine)
    assert (left.status, left.listened) == (8, False)
    assert "owner.key" in left.words
    assert "certificates_made" not in left.err
