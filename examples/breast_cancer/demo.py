"""`make demo`: seal a model, serve it, predict over a verified channel, then five refusals.

Everything is real but the processor: the simulated platform signs AMD's report format with keys of
its own, and every check that runs is the one that runs against hardware.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# The reference below must not report home either.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from stage import Stage, SurpriseError, free_port

HERE = Path(__file__).resolve().parent
MODEL = HERE / "model.onnx"
PATIENTS = HERE / "patients.npy"
NAME = "breast-cancer"
SELF = [sys.executable, "-I", "-m", "sealserve"]
SAMPLE_BYTES = 64
INTERRUPTED = 130


@dataclass
class Facts:
    """What one person tells another in this story."""

    root: str = ""
    policy: str = ""
    hardware_root: str = ""
    measurement: str = ""
    vault: str = ""
    vault_ca: str = ""
    port: int = 0
    command: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


def main() -> int:
    workdir = Path(tempfile.mkdtemp(prefix="sealserve-demo-"))
    stage = Stage(workdir)
    facts = Facts(port=free_port())
    try:
        stage.banner(
            "simulated platform",
            "No AMD hardware here. The simulated platform signs the same report format with a\n"
            "root of its own: it shows every check at work, and proves NOTHING about hardware.",
        )
        seal_and_publish(stage, facts)
        serve_and_predict(stage, facts)
        refusals(stage, facts)
        ending(stage)
    except SurpriseError as surprise:
        stage.console.print(f"\nthe demo did not go as told: {surprise}", style="bold red")
        return 1
    except KeyboardInterrupt:
        stage.console.print("\ninterrupted; nothing is left running", style="bold")
        return INTERRUPTED
    finally:
        stage.stop_everything()
        shutil.rmtree(workdir)
    return 0


# ---- the owner


def seal_and_publish(stage: Stage, facts: Facts) -> None:
    stage.chapter("The owner seals and publishes")
    stage.step("owner", "makes a key pair and seals the model for it")
    stage.run("key", "new", "owner.key")
    sealed = ("seal", str(MODEL), "-o", "model.sealed", "--key", "hpke:owner.key.pub")
    stage.run(*sealed, "--name", NAME, "--version", "1", "--json")
    facts.root = json.loads(stage.run("inspect", "model.sealed", "--json"))["root"]
    stage.good(f"root {facts.root}")
    stage.note("the model's public identity: a hash that anybody can check")

    stage.step("owner", "starts a trust service: attestation service and key vault in one")
    platform = json.loads(stage.run("tee", "info", "--root-dir", "tee", "--json"))
    facts.hardware_root = platform["simulated_root_sha256"]
    facts.measurement = platform["measurement"]
    start_trust_service(stage, facts)

    stage.step("owner", "writes down what may run: this command line and no other")
    facts.command = serve_command(stage, facts, facts.root)
    generate = ("policy", "generate", "--process", "--json", "-o", "policy.rego", "--")
    facts.policy = json.loads(stage.run(*generate, *facts.command))["sha256"]
    stage.good(f"policy {facts.policy}")
    stage.note("what HOST_DATA must hold in the machine's attestation report")

    stage.step("owner", "puts the key into the vault, to be released under that policy only")
    reference = f"trustd:{facts.vault}/{NAME}"
    publish = ("publish", "model.sealed", "--vault", reference, "--policy", "policy.rego")
    stage.run(*publish, "--identity", "owner.key", "--connection", "vault/connection.toml")
    stage.good("the sealed file has a slot for the vault key; its root did not change")


def start_trust_service(stage: Stage, facts: Facts) -> None:
    facts.vault = f"127.0.0.1:{free_port()}"
    init = ("trustd", "init", "vault", "--listen", facts.vault, "--json")
    made = json.loads(stage.run(*init, "--simulated-root-sha256", facts.hardware_root))
    facts.vault_ca = made["ca_sha256"]
    stage.start("trustd", "run", "vault", ready="ready")


def serve_command(stage: Stage, facts: Facts, root: str) -> tuple[str, ...]:
    vault = ["--vault", f"trustd:{facts.vault}", "--vault-ca-sha256", facts.vault_ca]
    sealed = str(stage.workdir / "model.sealed")
    return (*SELF, "serve", sealed, "--root", root, *vault, "--listen", facts.target)


# ---- the operator and the client


def serve_and_predict(stage: Stage, facts: Facts) -> None:
    stage.chapter("The operator serves, the client verifies")
    stage.step("operator", "starts the server inside the (simulated) trusted environment")
    stage.note(stage.start(*tee("policy.rego"), *facts.command, ready="ready"))

    stage.step("client", "writes down what it expects, then checks the server against it")
    write_trust(stage, facts, "trust.toml", facts.root)
    stage.run("check", facts.target, "--trust", "trust.toml", show=str.splitlines)

    stage.step("client", "sends twelve real patients over the channel it verified")
    predict = ("predict", facts.target, NAME, "--trust", "trust.toml")
    stage.run(*predict, "--input", f"x=@{PATIENTS}", "-o", "answers.npz")
    compare_with_plain_runtime(stage)


def tee(policy: str, *options: str) -> tuple[str, ...]:
    return ("tee", "run", "--policy", policy, "--root-dir", "tee", *options, "--")


def write_trust(stage: Stage, facts: Facts, path: str, root: str) -> None:
    hardware = ("--platform", "simulated", "--simulated-root-sha256", facts.hardware_root)
    software = ("--measurement", facts.measurement, "--policy", "policy.rego")
    model = ("--model", f"{NAME}={root}", "--name", "breast-cancer demo")
    stage.run("trust", "new", "-o", path, *hardware, *software, *model)


def compare_with_plain_runtime(stage: Stage) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(str(MODEL), options)
    wanted = dict(
        zip(["label", "probabilities"], plain.run(None, {"x": np.load(PATIENTS)}), strict=True)
    )
    with np.load(stage.workdir / "answers.npz") as answers:
        for name, array in wanted.items():
            if answers[name].tobytes() != array.tobytes():
                raise SurpriseError(f"{name} differs from plain ONNX Runtime")
    stage.good("bit for bit what plain ONNX Runtime answers on the unsealed model")
    show_patients(stage, wanted["label"], wanted["probabilities"])


def show_patients(stage: Stage, labels: np.ndarray, probabilities: np.ndarray) -> None:
    with (HERE / "patients.csv").open() as file:
        truth = [row["diagnosis"] for row in csv.DictReader(file)]
    for number in range(4):
        said = "benign" if labels[number] else "malignant"
        sure = probabilities[number].max()
        stage.note(f"patient {number + 1}: {said} ({sure:.4f}); biopsy said {truth[number]}")
    stage.note(f"... and {len(truth) - 4} more")


# ---- five refusals


def refusals(stage: Stage, facts: Facts) -> None:
    stage.chapter("Five refusals")
    another_root(stage, facts)
    stage.stop()
    flipped_byte(stage, facts)
    another_command(stage, facts)
    edited_policy(stage, facts)
    debug_machine(stage, facts)


def another_root(stage: Stage, facts: Facts) -> None:
    stage.step("client", "expects another model than the one that is served")
    write_trust(stage, facts, "other.toml", "0" * 63 + "1")
    predict = ("predict", facts.target, NAME, "--trust", "other.toml")
    stage.refused("the client", 6, *predict, "--input", f"x=@{PATIENTS}")


def flipped_byte(stage: Stage, facts: Facts) -> None:
    stage.step("operator", "flips one bit in the sealed file and starts the server")
    sealed = stage.workdir / "model.sealed"
    good = sealed.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    sealed.write_bytes(bad)
    stage.refused("the server", 4, *tee("policy.rego"), *facts.command)
    sealed.write_bytes(good)


def another_command(stage: Stage, facts: Facts) -> None:
    stage.step("operator", "starts it with one more option than the policy allows")
    stage.refused("the machine", 6, *tee("policy.rego"), *facts.command, "--require-root")


def edited_policy(stage: Stage, facts: Facts) -> None:
    stage.step("operator", "edits the policy, so that it starts, and asks for the key")
    edited = (*facts.command, "--require-root")
    stage.run("policy", "generate", "--process", "-o", "edited.rego", "--", *edited)
    stage.refused("the vault", 7, *tee("edited.rego"), *edited)


def debug_machine(stage: Stage, facts: Facts) -> None:
    stage.step("operator", "runs the right thing on a machine in debug mode")
    stage.refused("the vault", 7, *tee("policy.rego", "--fault", "debug"), *facts.command)


# ---- the end


def ending(stage: Stage) -> None:
    stage.chapter("What is left")
    stage.stop_everything()
    stage.good("nothing is running any more")
    weights = sample_of_weights()
    files = [path for path in stage.workdir.rglob("*") if path.is_file()]
    for path in files:
        if weights in path.read_bytes():
            raise SurpriseError(f"{path} holds weights in clear")
    stage.good(
        f"{SAMPLE_BYTES} bytes of weights, sought in all {len(files)} files written: not found"
    )
    stage.banner("done", "All of it: README.md. What is not promised: SECURITY.md.")


def sample_of_weights() -> bytes:
    """A stretch of the plain model's largest tensor, which no file of this demo may contain."""
    plain = MODEL.read_bytes()
    middle = len(plain) // 2
    return plain[middle : middle + SAMPLE_BYTES]


if __name__ == "__main__":
    sys.exit(main())
