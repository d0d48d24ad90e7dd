"""`sealserve proxy` as a person starts it: its ready line, its log, its end, its refusals."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.proxy.events import FIELDS, Event
from sealserve.inference.wire import names
from sealserve.inference.wire.infer import InferRequest, decode_response, encode_request
from sealserve.inference.wire.tensor import Tensor
from support import client_case as case
from support.client_cli import Clinic
from support.client_server import MODEL, LiveServer
from support.ports import free_port
from support.ready_process import ReadyProcess, started
from support.server_process import SEALSERVE, clean_environment

TOKEN = "tell-nobody"
MARK = np.array([[1234.5, 6789.25, 4321.125]], "<f4")
ASK = encode_request(InferRequest(MODEL, "", (Tensor("x", "FP32", (1, 3), MARK),)))


@pytest.fixture
def clinic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], simulated_root: SimulatedRoot
) -> Clinic:
    folder = tmp_path / "clinic"
    folder.mkdir()
    return Clinic(folder, capsys, simulated_root)


@pytest.fixture
def server(simulated_root: SimulatedRoot) -> Iterator[LiveServer]:
    with case.live(case.machine(simulated_root)) as live:
        yield live


@contextmanager
def proxying(clinic: Clinic, target: str, *options: str) -> Iterator[ReadyProcess]:
    command = [*SEALSERVE, "proxy", target, "--trust", "trust.toml", *options]
    log = clinic.folder / "log"
    with started(ReadyProcess, command, clinic.folder, log, env=clean_environment()) as process:
        yield process


def place_of(proxy: ReadyProcess) -> str:
    assert proxy.ready.startswith("ready: proxy on "), proxy.err
    return proxy.ready.split()[3]


def ask(place: str) -> list[int]:
    with grpc.insecure_channel(place) as channel:
        answer = channel.unary_unary(names.MODEL_INFER)(ASK, timeout=10)
    (rows,) = [one.data for one in decode_response(answer).outputs if one.name == "rows"]
    found: list[int] = rows.tolist()
    return found


def test_from_the_ready_line_to_the_end(clinic: Clinic, server: LiveServer) -> None:
    (clinic.folder / "token").write_text(TOKEN)
    (clinic.folder / "token").chmod(0o600)
    options = ("--listen", "127.0.0.1:0", "--token-file", "token", "--connections", "2")
    target = f"{server.target},127.0.0.1:{free_port()}"
    with proxying(clinic, target, *options) as proxy:
        place = place_of(proxy)
        assert proxy.ready == (
            f"ready: proxy on {place} for 1 of 2 replicas; models {MODEL}; platform simulated\n"
        )
        assert ask(place) == [1]
        with grpc.insecure_channel(place) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(names.MODEL_INFER)(b"\xff", timeout=10)
        assert proxy.stop(signal.SIGTERM) == (0, "")
        words = proxy.err
    assert "SIMULATED PLATFORM" in words
    events = [json.loads(line) for line in words.splitlines() if line.startswith("{")]
    for event in events:
        assert set(event) - {"event", "time"} == FIELDS[Event(event["event"])]
    seen = [event["event"] for event in events]
    assert seen[-2:] == ["draining", "stopped"]
    assert {"replica_attested", "replica_left_out", "ready"} <= set(seen)
    for secret in (TOKEN, "1234.5", "6789", "Bearer"):
        assert secret not in words + proxy.ready


def test_over_a_unix_socket(clinic: Clinic, server: LiveServer) -> None:
    with proxying(clinic, server.target, "--listen", "unix:s") as proxy:
        place = place_of(proxy)
        assert place == f"unix:{clinic.folder}/s"
        assert ask(place) == [1]
        assert proxy.stop(signal.SIGINT) == (0, "")
    assert "s" not in clinic.files


def proxy_verb(clinic: Clinic, target: str, *options: str) -> tuple[int, str]:
    ran = clinic.run("proxy", target, "--trust", "trust.toml", *options)
    assert ran.out == ""
    return ran.status, ran.err


def test_a_place_that_others_reach(clinic: Clinic, server: LiveServer) -> None:
    status, words = proxy_verb(clinic, server.target, "--listen", "0.0.0.0:1")
    assert status == 8
    assert "plain text" in words
    assert "--listen-anywhere" in words
    assert server.record.calls == []


def test_a_place_that_others_reach_is_named_loudly(clinic: Clinic, server: LiveServer) -> None:
    options = ("--listen", "0.0.0.0:0", "--listen-anywhere")
    with proxying(clinic, server.target, *options) as proxy:
        assert proxy.stop() == (0, "")
        words = proxy.err
    assert "DANGER: whoever reaches 0.0.0.0:0" in words
    assert '"event": "listens_anywhere"' in words


def test_a_server_that_is_not_acceptable(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root, "debug")) as bad:
        status, _ = proxy_verb(clinic, bad.target, "--listen", "127.0.0.1:0")
    assert status == 6


def test_nobody_there(clinic: Clinic) -> None:
    status, words = proxy_verb(clinic, f"127.0.0.1:{free_port()}", "--listen", "127.0.0.1:0")
    assert status == 10
    assert "no TLS 1.3 handshake" in words


def test_a_port_that_is_taken(clinic: Clinic, server: LiveServer) -> None:
    status, words = proxy_verb(clinic, server.target, "--listen", server.target)
    assert status == 10
    assert f"cannot listen on {server.target}" in words


def test_help(clinic: Clinic) -> None:
    told = clinic.help("proxy")
    for words in ("--listen ADDRESS", "unix:PATH", "DANGER", "--token-file", "--connections"):
        assert words in told
