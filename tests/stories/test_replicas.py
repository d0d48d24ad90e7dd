"""Three real servers; one is killed while people ask: no call fails, by the client or the proxy."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest

from sealserve import Trust, connect
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import names
from sealserve.inference.wire.infer import InferRequest, decode_response, encode_request
from sealserve.inference.wire.tensor import Tensor
from sealserve.keys import new_identity
from support import client_case as case
from support.client_server import MODEL, eventually
from support.models_sealed import seal_model
from support.ready_process import ReadyProcess, started
from support.server_process import SEALSERVE, Server, clean_environment, serving

PLAIN = Path(__file__).resolve().parents[2] / "examples" / "breast_cancer" / "model.onnx"
PATIENTS = np.load(PLAIN.with_name("patients.npy"))
Ask = Callable[[], list[int]]


class Replicas:
    """Servers of one model, each a process on a machine of its own, and who accepts them."""

    def __init__(self, folder: Path, servers: list[Server], trust: Path) -> None:
        self.folder = folder
        self.servers = servers
        self.trust = trust

    @property
    def target(self) -> str:
        return ",".join(server.target for server in self.servers)


@contextmanager
def one_server(folder: Path, root: SimulatedRoot, *options: str) -> Iterator[tuple[Server, Trust]]:
    """A server of the model by itself, and who accepts it."""
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    sealed = seal_model(PLAIN, folder / "net.sealed", keys=keys, name=MODEL).root.hex()
    arguments = ("net.sealed", "--root", sealed, "--identity", "owner.key")
    machine = case.machine(root)
    with serving(folder, (*arguments, "--listen", "127.0.0.1:0", *options), machine) as server:
        yield server, case.trust(root, (case.ROOT.hex(), sealed))


def children_of(process: int) -> set[int]:
    """Processes that it started, and theirs."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    found = {int(each) for each in listed.split()}
    return found.union(*(children_of(child) for child in found))


def listening(process: int) -> bool:
    """Whether a process has loaded gRPC, as workers alone do."""
    return "cygrpc" in Path(f"/proc/{process}/maps").read_text()


@pytest.fixture
def replicas(tmp_path: Path, simulated_root: SimulatedRoot) -> Iterator[Replicas]:
    folder = tmp_path / "desk"
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    root = seal_model(PLAIN, folder / "net.sealed", keys=keys, name=MODEL).root.hex()
    trust = folder / "trust.toml"
    trust.write_bytes(case.trust_bytes(simulated_root, (case.ROOT.hex(), root)))
    arguments = ("../desk/net.sealed", "--root", root, "--identity", "../desk/owner.key",
                 "--listen", "127.0.0.1:0")  # fmt: skip
    with ExitStack() as stack:
        servers = []
        for name in ("one", "two", "three"):
            place = tmp_path / name
            place.mkdir()
            machine = case.machine(simulated_root)
            servers.append(stack.enter_context(serving(place, arguments, machine)))
        yield Replicas(folder, servers, trust)


def ask_while_one_is_killed(replicas: Replicas, ask: Ask) -> None:
    """Four people ask; every one of their answers has to be right."""
    # What plain ONNX Runtime answers.
    session = onnxruntime.InferenceSession(str(PLAIN))
    expected = session.run(["label"], {"x": PATIENTS[:2]})[0].tolist()
    enough = threading.Event()
    done = [0] * 4

    def work(person: int) -> None:
        while not enough.is_set():
            assert ask() == expected
            done[person] += 1

    with ThreadPoolExecutor(4) as people:
        working = [people.submit(work, person) for person in range(4)]
        eventually(lambda: min(done) > 5)
        replicas.servers[0].process.send_signal(signal.SIGKILL)
        replicas.servers[0].process.wait(10)
        so_far = list(done)
        eventually(lambda: all(now > then + 5 for now, then in zip(done, so_far, strict=True)))
        enough.set()
        for one in working:
            one.result(20)


def test_the_client_loses_no_call(replicas: Replicas) -> None:
    with connect(replicas.target, Trust.load(replicas.trust)) as client:

        def ask() -> list[int]:
            found: list[int] = client.predict(MODEL, {"x": PATIENTS[:2]})["label"].tolist()
            return found

        ask_while_one_is_killed(replicas, ask)
        assert [bool(one.verdict) for one in client.replicas] == [False, True, True]


def test_killing_a_worker_loses_no_call(tmp_path: Path, simulated_root: SimulatedRoot) -> None:
    """Four connections are spread over two workers; what one of them had is asked again."""
    with (
        one_server(tmp_path / "desk", simulated_root, "--workers", "2") as (server, trust),
        connect(server.target, trust, connections=4) as client,
    ):
        before = {one for one in children_of(server.process.pid) if listening(one)}
        assert len(before) == 2
        done = 0
        enough = threading.Event()

        def work() -> None:
            nonlocal done
            while not enough.is_set():
                client.predict(MODEL, {"x": PATIENTS[:2]})
                done += 1

        with ThreadPoolExecutor(4) as people:
            working = [people.submit(work) for _ in range(4)]
            eventually(lambda: done > 20)
            os.kill(min(before), signal.SIGKILL)
            so_far = done
            eventually(lambda: done > so_far + 40)
            enough.set()
            for one in working:
                one.result(20)


def test_the_proxy_loses_no_call_of_a_program_that_knows_nothing_of_us(replicas: Replicas) -> None:
    x = Tensor("x", "FP32", (2, 30), PATIENTS[:2].astype("<f4"))
    request = encode_request(InferRequest(MODEL, "", (x,)))
    command = [*SEALSERVE, "proxy", replicas.target, "--trust", str(replicas.trust)]
    command += ["--listen", "127.0.0.1:0"]
    log = replicas.folder.with_name("proxy.err")
    with started(ReadyProcess, command, replicas.folder, log, env=clean_environment()) as proxy:
        assert "3 of 3 replicas" in proxy.ready, proxy.err
        with grpc.insecure_channel(proxy.ready.split()[3]) as channel:
            call = channel.unary_unary(names.MODEL_INFER)

            def ask() -> list[int]:
                outputs = decode_response(call(request, timeout=20)).outputs
                (label,) = [one.data for one in outputs if one.name == "label"]
                found: list[int] = label.tolist()
                return found

            ask_while_one_is_killed(replicas, ask)
        eventually(lambda: '"event": "replica_left_out"' in proxy.err)
        assert proxy.stop() == (0, "")
