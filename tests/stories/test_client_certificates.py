"""A server for the clients of one authority, with real processes: who gets in, and who is told why.

What was written meanwhile, by whomever, holds no line of a client's key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest

from sealserve import Trust, connect, connect_async
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.client import Certificate
from sealserve.inference.wire import names
from sealserve.inference.wire.infer import InferRequest, decode_response, encode_request
from sealserve.inference.wire.tensor import Tensor
from sealserve.keys import new_identity
from sealserve.native.errors import ConfigError, UnavailableError
from support import client_case as case
from support.client_authority import Authority, Issued
from support.client_server import MODEL
from support.models_sealed import seal_model
from support.ready_process import ReadyProcess, started
from support.server_process import SEALSERVE, Server, clean_environment, serving, verb

PLAIN = Path(__file__).resolve().parents[2] / "examples" / "breast_cancer" / "model.onnx"
PATIENTS = PLAIN.with_name("patients.npy")
ROWS = np.load(PATIENTS)[:2]
AUTHORITY = Authority()
GOOD = AUTHORITY.issue()
WRONG = {
    "foreign": Authority("another").issue(),
    "of the same name": Authority().issue(),
    "expired": AUTHORITY.issue(ends=timedelta(minutes=-1)),
}
TRUST = ("--trust", "trust.toml")
HINT = "hint: the server wants a client's certificate: --certificate and --key"


@dataclass(frozen=True)
class Clinic:
    """A server that wants certificates, and the folder of somebody who asks it."""

    folder: Path
    server: Server

    @property
    def trust(self) -> Trust:
        return Trust.load(self.folder / "trust.toml")

    def options(self, issued: Issued, name: str) -> list[str]:
        """Of a verb, with these files under that name."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        files = issued.written(place)
        return [f"--certificate={name}/{files[0]}", f"--key={name}/{files[1]}"]

    def certificate(self) -> Certificate:
        files = GOOD.written(self.folder)
        return Certificate.load(*(self.folder / file for file in files))


@pytest.fixture(scope="module")
def clinic(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("certificates") / "desk"
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    root = seal_model(PLAIN, folder / "net.sealed", keys=keys, name=MODEL).root.hex()
    trust = case.trust_bytes(simulated_root, (case.ROOT.hex(), root))
    (folder / "trust.toml").write_bytes(trust)
    (folder / "ca.pem").write_bytes(AUTHORITY.own)
    callers = ("--callers", "ca.pem", "--callers-sha256", hashlib.sha256(AUTHORITY.own).hexdigest())
    arguments = ("net.sealed", "--root", root, "--identity", "owner.key", *callers)
    machine = case.machine(simulated_root)
    with serving(folder, (*arguments, "--listen", "127.0.0.1:0"), machine) as server:
        yield Clinic(folder, server)
        written = "".join(path.read_text() for path in folder.parent.glob("*.err"))
    assert '"event": "ready"' in written
    assert "unforeseen" not in written  # a stranger's handshake is nothing special
    assert GOOD.private.decode() not in written


def test_whoever_has_the_right_one_predicts(clinic: Clinic) -> None:
    own = clinic.certificate()

    async def ask() -> list[int]:
        options = {"certificate": own, "connections": 2}
        async with await connect_async(clinic.server.target, clinic.trust, **options) as client:
            found: list[int] = (await client.predict(MODEL, {"x": ROWS}))["label"].tolist()
            return found

    with connect(clinic.server.target, clinic.trust, certificate=own) as client:
        labels = client.predict(MODEL, {"x": ROWS})["label"].tolist()
    assert len(labels) == 2
    assert asyncio.run(ask()) == labels


def test_so_it_is_on_the_command_line(clinic: Clinic) -> None:
    own = clinic.options(GOOD, "good")
    checked = verb(clinic.folder, "check", clinic.server.target, *TRUST, *own)
    assert checked.returncode == 0, checked.stderr
    asked = ("predict", clinic.server.target, MODEL, *TRUST, "--input", f"x=@{PATIENTS}")
    predicted = verb(clinic.folder, *asked, *own, "--output", "label", "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert '"label"' in predicted.stdout
    for ran in (checked, predicted):
        assert GOOD.private.decode() not in ran.stdout + ran.stderr


def test_and_through_the_proxy(clinic: Clinic) -> None:
    own = clinic.options(GOOD, "good")
    command = [*SEALSERVE, "proxy", clinic.server.target, *TRUST, "--listen", "unix:s", *own]
    log = clinic.folder / "proxy.log"
    request = InferRequest(MODEL, "", (Tensor("x", "FP32", ROWS.shape, ROWS.astype("<f4")),))
    with started(ReadyProcess, command, clinic.folder, log, env=clean_environment()) as proxy:
        with grpc.insecure_channel(proxy.ready.split()[3]) as channel:
            answer = channel.unary_unary(names.MODEL_INFER)(encode_request(request), timeout=10)
        assert proxy.stop() == (0, "")
        assert GOOD.private.decode() not in proxy.err + proxy.ready
    assert {output.name for output in decode_response(answer).outputs} >= {"label"}


def test_without_one_a_person_is_told_what_is_missing(clinic: Clinic) -> None:
    ran = verb(clinic.folder, "check", clinic.server.target, *TRUST)
    assert (ran.returncode, ran.stdout) == (8, "")
    assert (
        f"{clinic.server.target} takes no connection without a client's certificate" in ran.stderr
    )
    assert HINT in ran.stderr
    with pytest.raises(ConfigError, match="takes no connection without"):
        connect(clinic.server.target, clinic.trust)
    with pytest.raises(ConfigError, match="takes no connection without"):
        asyncio.run(connect_async(clinic.server.target, clinic.trust))


@pytest.mark.parametrize("name", ["foreign", "of the same name"])
def test_with_a_foreign_one_that_the_connection_broke(clinic: Clinic, name: str) -> None:
    wrong = WRONG[name]
    own = clinic.options(wrong, "wrong")
    ran = verb(clinic.folder, "check", clinic.server.target, *TRUST, *own)
    assert (ran.returncode, ran.stdout) == (10, "")
    assert "wants a client's certificate, and the connection with ours broke" in ran.stderr
    assert HINT in ran.stderr
    assert wrong.private.decode() not in ran.stderr
    certificate = Certificate.parse(wrong.chain, wrong.key)
    with pytest.raises(UnavailableError, match="the connection with ours broke"):
        connect(clinic.server.target, clinic.trust, certificate=certificate)


def test_with_an_expired_one_nobody_is_asked(clinic: Clinic) -> None:
    own = clinic.options(WRONG["expired"], "old")
    ran = verb(clinic.folder, "check", clinic.server.target, *TRUST, *own)
    assert (ran.returncode, ran.stdout) == (8, "")
    assert "old/client.pem: the client's certificate expired at 20" in ran.stderr
    assert WRONG["expired"].private.decode() not in ran.stderr
