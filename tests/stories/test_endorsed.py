"""A confidential container in all but hardware: a launch that is endorsed, its files beside it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation import uvm
from sealserve.attestation.devices import security_context
from support.policy_case import ISSUER
from support.server_process import SEALSERVE, Server, clean_environment, started, verb

MODEL = Path(__file__).resolve().parents[2] / "examples" / "breast_cancer" / "model.onnx"
NAME = "breast-cancer"


@dataclass(frozen=True)
class Container:
    """A server in a simulated container, and what its client was told of it."""

    folder: Path
    server: Server
    told: dict[str, Any]
    root: str

    def trusting(self, **changed: str) -> Path:
        """A trust file that names the endorser, with these options changed."""
        options = {
            "uvm-issuer": self.told["uvm_issuer"],
            "uvm-feed": self.told["uvm_feed"],
            "uvm-minimum-svn": str(self.told["uvm_svn"]),
            **changed,
        }
        file = self.folder / f"trust-{len(list(self.folder.glob('trust-*')))}.toml"
        ran = verb(
            self.folder, "trust", "new", "-o", str(file), "--name", "the container",
            "--platform", "simulated", "--line", "turin",
            "--simulated-root-sha256", self.told["simulated_root_sha256"],
            "--policy", "policy.rego", "--model", f"{NAME}={self.root}",
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return file

    def check(self, trust: Path) -> subprocess.CompletedProcess[str]:
        return verb(self.folder, "check", self.server.target, "--trust", str(trust))


def told_by(folder: Path, *arguments: str) -> dict[str, Any]:
    ran = verb(folder, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


@pytest.fixture(scope="module")
def container(
    tmp_path_factory: pytest.TempPathFactory, simulated_root_dir: Path
) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("container") / "desk"
    folder.mkdir()
    assert verb(folder, "key", "new", "owner.key").returncode == 0
    sealing = ("seal", str(MODEL), "-o", "model.sealed", "--key", "hpke:owner.key.pub")
    root = told_by(folder, *sealing, "--name", NAME, "--version", "1")["root"]
    serve = (*SEALSERVE, "serve", str(folder / "model.sealed"), "--root", root,
             "--identity", str(folder / "owner.key"), "--listen", "127.0.0.1:0")  # fmt: skip
    generate = ("policy", "generate", "--process", "-o", "policy.rego", "--", *serve)
    assert verb(folder, *generate).returncode == 0
    machine = ("--root-dir", str(simulated_root_dir), "--machine", "turin")
    told = told_by(folder, "tee", "info", *machine)
    tee = ("tee", "run", "--policy", "policy.rego", *machine, "--uvm", "hash",
           "--security-context", "context", "--")  # fmt: skip
    log = folder.with_name("server.err")
    with started((*SEALSERVE, *tee, *serve), folder, log, env=clean_environment()) as ready:
        yield Container(folder, ready, told, root)


def test_whoever_trusts_the_endorser_accepts_the_launch(container: Container) -> None:
    ran = container.check(container.trusting())
    assert ran.returncode == 0, ran.stderr
    assert f"is version 104 of {container.told['uvm_feed']}, at least 104, " in ran.stdout
    assert f"by {container.told['uvm_issuer']}" in ran.stdout
    assert "turin" in ran.stdout
    assert "SIMULATED" in ran.stdout


OTHERS = {"uvm-issuer": ISSUER, "uvm-feed": "Another-UVM", "uvm-minimum-svn": "105"}


@pytest.mark.parametrize("option", OTHERS)
def test_whoever_trusts_another_does_not(container: Container, option: str) -> None:
    ran = container.check(container.trusting(**{option: OTHERS[option]}))
    assert ran.returncode == 6
    assert "uvm_untrusted_issuer_or_svn: " in ran.stderr
    assert OTHERS[option] in ran.stderr


def test_the_files_beside_it_are_those_of_the_machine(container: Container) -> None:
    """Read by what reads them on real containers."""
    found = security_context.read(container.folder / "context")
    policy = (container.folder / "policy.rego").read_bytes()
    assert found.policy_sha256 == hashlib.sha256(policy).digest()
    assert found.endorsement is not None
    assert uvm.read(found.endorsement).issuer == container.told["uvm_issuer"]
    assert found.certificate is not None
    digest = hashlib.sha256(found.certificate.root).hexdigest()
    assert digest == container.told["simulated_root_sha256"]
    assert found.certificate.tcb == bytes.fromhex("0101010400000051")
