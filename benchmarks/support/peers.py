"""Other servers of the same models, each in a process and, where it needs one, a room of its own.

`make bench-serving` installs them below build/peers. One that is not there is told as missing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from support.h2load import Target
from support.started import running
from support.turns import Missing

from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from support.ports import free_ports

HERE = Path(__file__).resolve().parents[1] / "peers"
ROOMS = HERE.parents[1] / "build" / "peers"
READY_SECONDS = 120.0
MESSAGE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Peer:
    """room: the folder below build/peers that has its interpreter. start: makes its command."""

    name: str
    room: str
    start: Callable[[Path, Path, int, int], Sequence[object]]

    @property
    def python(self) -> Path:
        return ROOMS / self.room / "bin" / "python"

    @contextmanager
    def serving(self, folder: Path, models: Sequence[str]) -> Iterator[Target]:
        """While it serves the folder's models."""
        http_port, grpc_port = free_ports(2)
        command = self.start(self.python, folder, http_port, grpc_port)
        path = {"PATH": f"{self.python.parent}:{os.environ['PATH']}", "PYTHONPATH": str(HERE)}
        with subprocess.Popen(
            [*map(str, command)],
            cwd=folder,
            env={**os.environ, **path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                _wait_for(grpc_port, models)
                yield Target(grpc_port, tls=False)
            finally:
                process.terminate()


@contextmanager
def installed(
    wanted: Sequence[Peer], folder: Path, models: Sequence[str]
) -> Iterator[tuple[dict[str, Target], list[Missing]]]:
    """Those wanted that are installed, by name, and the others."""
    with ExitStack() as stack:
        there = [peer for peer in wanted if peer.python.exists()]
        up = {peer.name: stack.enter_context(peer.serving(folder, models)) for peer in there}
        yield up, [Missing(peer.name, _why_missing(peer)) for peer in PEERS if peer not in there]


def _why_missing(peer: Peer) -> str:
    return "left out" if peer.python.exists() else "not installed: make peers"


@contextmanager
def bare(folder: Path, *tls: Path) -> Iterator[Target]:
    """The floor. tls: files with a certificate and its key."""
    command = [sys.executable, HERE / "bare.py", folder, *tls]
    with running(command, re.compile(r"ready (\d+)")) as (_, found):
        yield Target(int(found[1]), tls=bool(tls))


def _wait_for(port: int, models: Sequence[str]) -> None:
    """Until every model is ready; RuntimeError if that takes too long."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        asked = channel.unary_unary(
            names.MODEL_READY,
            request_serializer=pb.ModelReadyRequest.SerializeToString,
            response_deserializer=pb.ModelReadyResponse.FromString,
        )
        for model in models:
            _until_ready(asked, pb.ModelReadyRequest(name=model))


def _until_ready(asked: grpc.UnaryUnaryMultiCallable, request: pb.ModelReadyRequest) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        try:
            if asked(request, timeout=READY_SECONDS, wait_for_ready=True).ready:
                return
        except grpc.RpcError:  # it listens before it knows its models
            pass
        time.sleep(0.2)
    raise RuntimeError(f"a server was not ready with {request.name} in {READY_SECONDS} s")


def _mlserver(python: Path, folder: Path, http_port: int, grpc_port: int) -> Sequence[object]:
    (metrics_port,) = free_ports(1)
    settings = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": 0,  # each would have the model once more, and a hop to it
        "debug": False,  # else every request is logged
        "grpc_max_message_length": MESSAGE_BYTES,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    for path in folder.glob("*.onnx"):
        own = folder / "mlserver" / path.stem
        own.mkdir(parents=True)
        about = {"uri": str(path), "version": "1"}
        model = {"name": path.stem, "implementation": "in_mlserver.Onnx", "parameters": about}
        (own / "model-settings.json").write_text(json.dumps(model))
    return [python.with_name("mlserver"), "start", folder]


def _script(name: str) -> Callable[[Path, Path, int, int], Sequence[object]]:
    return lambda python, folder, *ports: [python, HERE / name, folder, *ports]


PEERS = (
    Peer("MLServer", "mlserver", _mlserver),
    Peer("KServe's Python server", "kserve", _script("in_kserve.py")),
    Peer("PyTriton", "pytriton", _script("in_pytriton.py")),
)
