"""NVIDIA's `tritonclient[grpc]`, unmodified, predicts through the server's pinned certificate.

It lives in a virtual environment of its own, because it wants an older protobuf than ours; `make`
sets that up. All it believes is one certificate, of a server that our own client has verified.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sealserve import connect
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.inference.server.identity import TlsIdentity
from sealserve.keys import new_identity
from support import client_case as case
from support.client_server import MODEL
from support.models_sealed import seal_model
from support.server_process import SECONDS, certificate_of, clean_environment, serving

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-tritonclient" / "bin" / "python"
PROGRAM = ROOT / "tests" / "support" / "triton_peer.py"
PLAIN = ROOT / "examples" / "breast_cancer" / "model.onnx"
PATIENTS = PLAIN.with_name("patients.npy")


@dataclass(frozen=True)
class Peer:
    """The other library, and a server it may talk to. certificate: in a file."""

    folder: Path
    target: str
    certificate: Path
    root: str

    def run(self, *root: str, certificate: Path | None = None, model: str = MODEL) -> Any:
        """What its program prints. root: sent as the one it expects."""
        ran = subprocess.run(
            [PYTHON, "-I", PROGRAM, self.target, certificate or self.certificate, model, PATIENTS,
             self.out, *root],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    @property
    def out(self) -> Path:
        """Where its program writes the outputs."""
        return self.folder / "answers.npz"


@pytest.fixture(scope="module")
def machine(simulated_root: SimulatedRoot) -> Machine:
    return case.machine(simulated_root)


@pytest.fixture(scope="module")
def peer(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot, machine: Machine
) -> Iterator[Peer]:
    assert PYTHON.exists(), "`make build/stamps/peer` sets up tritonclient"
    folder = tmp_path_factory.mktemp("triton") / "desk"
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    root = seal_model(PLAIN, folder / "net.sealed", keys=keys, name=MODEL).root.hex()
    arguments = ("net.sealed", "--root", root, "--identity", "owner.key")
    with serving(folder, (*arguments, "--listen", "127.0.0.1:0"), machine) as server:
        connect(server.target, case.trust(simulated_root, (case.ROOT.hex(), root))).close()
        certificate = folder / "server.pem"
        certificate.write_text(certificate_of(server.target))
        yield Peer(folder, server.target, certificate, root)


@pytest.mark.parametrize("names_root", [False, True], ids=["no root", "the root"])
def test_it_predicts_bit_by_bit_what_the_plain_model_answers(peer: Peer, names_root: bool) -> None:
    told = peer.run(*[peer.root] * names_root)
    assert (told["live"], told["ready"], told["model_ready"], told["id"]) == (True, True, True, "7")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(PLAIN), options)
    names = [output.name for output in session.get_outputs()]
    with np.load(peer.out) as answers:
        assert set(answers.files) == set(names)
        for name, array in zip(names, session.run(names, {"x": np.load(PATIENTS)}), strict=True):
            assert (answers[name].dtype, answers[name].shape) == (array.dtype, array.shape)
            assert answers[name].tobytes() == array.tobytes()


def test_it_reads_what_the_server_says_of_itself_and_of_the_model(peer: Peer) -> None:
    told = peer.run()
    assert told["server"]["name"] == "sealserve"
    model = told["model"]
    assert (model["name"], model["platform"]) == (MODEL, "onnxruntime_onnx")
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "30"]}]
    assert {output["name"]: output["datatype"] for output in model["outputs"]} == {
        "label": "INT64",
        "probabilities": "FP32",
    }


def test_another_certificate_of_the_same_machine_gets_no_connection(
    peer: Peer, machine: Machine
) -> None:
    """Same name, same issuer in words, and evidence as good: only the key is another one."""
    other = peer.folder / "other.pem"
    other.write_bytes(TlsIdentity(machine).certificate_pem)
    told = peer.run(certificate=other)
    assert told["status"] == "StatusCode.UNAVAILABLE"


def test_a_root_that_is_not_served_is_refused(peer: Peer) -> None:
    told = peer.run("11" * 32)
    assert told["status"] == "StatusCode.FAILED_PRECONDITION"
    assert peer.root in told["message"]


def test_a_model_that_is_not_there_is_told_in_its_own_words(peer: Peer) -> None:
    told = peer.run(model="absent")
    assert told["status"] == "StatusCode.NOT_FOUND"
