"""`sealserve predict`: what goes in, what comes out, and what it refuses or never overwrites."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import names
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.spec import TensorSpec
from sealserve.inference.wire.tensor import Tensor
from support import client_case as case
from support.client_cli import Clinic
from support.client_server import Doubler, LiveServer, failing
from support.models_cli import Ran
from support.models_cramped import cramped
from support.ports import free_port

ROWS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
X = "x=[[1,2,3],[4,5,6]]"
ANSWER = {"rows": [2], "twice": (2 * ROWS).tolist()}
Code = grpc.StatusCode


@pytest.fixture
def clinic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], simulated_root: SimulatedRoot
) -> Clinic:
    np.save(tmp_path / "x.npy", ROWS)
    np.savez(tmp_path / "x.npz", x=ROWS, y=np.zeros(1))
    (tmp_path / "x.json").write_text(json.dumps(ROWS.tolist()))
    return Clinic(tmp_path, capsys, simulated_root)


def refused(ran: Ran, status: int, *words: str) -> None:
    assert (ran.status, ran.out) == (status, ""), ran
    for word in words:
        assert word in ran.err


# ---- what goes in

INPUTS = [X, "x=@x.npy", "x=@x.npz", "x=@x.json", "x=[[1.0, 2e0, 3],\n [4, 5, 6]]"]


@pytest.mark.parametrize("given", INPUTS)
def test_predicts(clinic: Clinic, server: LiveServer, given: str) -> None:
    ran = clinic.predict(server.target, "--input", given, "--json")
    assert ran.status == 0
    assert ran.json == {"outputs": ANSWER}


def test_prints_the_answers_for_people(clinic: Clinic, server: LiveServer) -> None:
    ran = clinic.predict(server.target, "--input", X)
    assert ran.status == 0
    assert "twice float32 [2, 3]" in ran.out
    assert "rows int64 [1]" in ran.out
    assert "[ 8., 10., 12.]" in ran.out


def test_only_some_outputs(clinic: Clinic, server: LiveServer) -> None:
    ran = clinic.predict(server.target, "--input", X, "--output", "rows", "--json")
    assert ran.json == {"outputs": {"rows": [2]}}


def test_a_version(clinic: Clinic, server: LiveServer) -> None:
    assert clinic.predict(server.target, "--input", X, "--version", "1").status == 0
    refused(clinic.predict(server.target, "--input", X, "--version", "2"), 9, "version '2'")


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "words": lambda path: path.write_bytes(b"these are words"),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a cut array": lambda path: path.write_bytes(_npy()[:-1]),
    "an array without its shape": lambda path: path.write_bytes(_npy().replace(b"shape", b"shame")),
    "a header without an end": lambda path: path.write_bytes(_npy().replace(b"}", b" ")),
    "a header with mixed names": lambda path: path.write_bytes(_npy().replace(b"'sh", b"b'h")),
    "a header of another version": lambda path: path.write_bytes(
        _npy().replace(b"\x01\0", b"\x09\0")
    ),
    "objects": lambda path: path.write_bytes(_npy(np.array([{}]))),
    "an archive without that name": lambda path: path.write_bytes(_npz(y=ROWS)),
    "a cut archive": lambda path: path.write_bytes(_npz()[:-30]),
    "an archive with a changed byte": lambda path: path.write_bytes(
        _npz().replace(b"\x80\x3f", b"\x81\x3f")
    ),
    "JSON that ends early": lambda path: path.write_bytes(b"[[1, 2,\n"),
    "JSON with a number beyond all": lambda path: path.write_bytes(b"[[1, 2, 1e999]]"),
    "JSON nested too deeply": lambda path: path.write_bytes(b"[" * 100_000),
    "JSON that is too long": lambda path: path.write_bytes(b" " * (16 * 2**20 + 1)),
}


def _npy(array: np.ndarray = ROWS) -> bytes:
    np.save(file := BytesIO(), array, allow_pickle=True)
    return file.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    np.savez(file := BytesIO(), **(arrays or {"x": ROWS}))  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_holds_no_input(clinic: Clinic, server: LiveServer, name: str) -> None:
    BAD_FILES[name](clinic.folder / "bad")
    server.record.calls.clear()
    refused(clinic.predict(server.target, "--input", "x=@bad"), 8, "sealserve: bad")
    assert server.record.calls == []


def test_a_broken_json_file_is_told_with_its_line(clinic: Clinic, server: LiveServer) -> None:
    (clinic.folder / "x.json").write_text("[[1, 2, 3],\n [4, 5 6]]")
    refused(clinic.predict(server.target, "--input", "x=@x.json"), 8, "x.json:2, --input: ")


BAD_OPTIONS = {
    "no name": "[[1,2,3]]",
    "an empty name": "=[[1,2,3]]",
    "no value": "x=",
    "no file": "x=@",
    "no JSON": "x=[[1,2,3]",
    "a number beyond all": "x=[[1,2,1e999]]",
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_an_option_that_is_no_input(clinic: Clinic, server: LiveServer, name: str) -> None:
    server.record.calls.clear()
    refused(clinic.predict(server.target, "--input", BAD_OPTIONS[name]), 8, "--input", "hint: ")
    assert server.record.calls == []


def test_an_input_given_twice(clinic: Clinic, server: LiveServer) -> None:
    refused(clinic.predict(server.target, "--input", X, "--input", X), 8, "'x' is given twice")


# ---- what comes out

Outputs = dict[str, tuple[str, Any]]


class Speaker:
    """A model that gives the same outputs whatever it is asked."""

    inputs = (TensorSpec("x", "FP32", (-1, 3)),)

    def __init__(self, outputs: Outputs) -> None:
        self._tensors = tuple(
            Tensor(name, datatype, array.shape, array)
            for name, (datatype, array) in outputs.items()
        )
        self.outputs = tuple(TensorSpec(t.name, t.datatype, t.shape) for t in self._tensors)

    def run(self, request: InferRequest) -> tuple[Tensor, ...]:
        return self._tensors


def speaking(simulated_root: SimulatedRoot, outputs: Outputs) -> LiveServer:
    server = case.live(case.machine(simulated_root))
    server.model = Speaker(outputs)  # type: ignore[assignment]
    server.serve_instead(case.ROOT)
    server.model = Doubler()  # what `stop` opens
    return server


ODD_OUTPUTS: Outputs = {
    "file": ("FP32", np.array([0.5], "<f4")),
    "allow_pickle": ("INT8", np.array([[1], [2]], "i1")),
    "deep/er": ("BOOL", np.array([True])),
    "none": ("FP64", np.zeros((0, 2))),
    "words": ("BYTES", np.array([b"yes", b"\xff"], object)),
    "halves": ("BF16", np.array([0x3FC0], "<u2")),
}


def test_writes_every_kind_of_output(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    with speaking(simulated_root, ODD_OUTPUTS) as server:
        ran = clinic.predict(server.target, "--input", X, "-o", "out.npz", "--json")
        assert ran.status == 0, ran
        assert ran.json["out"] == "out.npz"
        assert ran.json["outputs"]["none"] == [0, 2]
    with np.load(clinic.folder / "out.npz", allow_pickle=False) as read:
        assert sorted(read.files) == sorted(ODD_OUTPUTS)
        assert read["file"].tolist() == [0.5]
        assert read["allow_pickle"].tolist() == [[1], [2]]
        assert read["words"].tolist() == [b"yes", b"\xff"]
        assert read["halves"].tolist() == [1.5]
        assert read["none"].shape == (0, 2)


def test_json_is_json(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    """Numbers JSON has no words for are texts, as protobuf writes them."""
    odd = np.array([[np.nan, np.inf, -np.inf, 0.5]], "<f4")
    with speaking(simulated_root, {"y": ("FP32", odd), **ODD_OUTPUTS}) as server:
        ran = clinic.predict(server.target, "--input", X, "--json")
    assert ran.status == 0, ran

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    outputs = json.loads(ran.out, parse_constant=refuse)["outputs"]
    assert outputs["y"] == [["NaN", "Infinity", "-Infinity", 0.5]]
    assert outputs["words"] == ["yes", "\ufffd"]


def test_what_is_printed_cannot_move_a_cursor(
    clinic: Clinic, simulated_root: SimulatedRoot
) -> None:
    words = np.array([b"\r\x07"], object)
    with speaking(simulated_root, {"y\r\x07": ("BYTES", words)}) as server:
        ran = clinic.predict(server.target, "--input", X)
    assert r"y\r\x07 object [1]" in ran.out
    assert not set("\r\x07") & set(ran.out)


def test_writes_a_file(clinic: Clinic, server: LiveServer) -> None:
    ran = clinic.predict(server.target, "--input", X, "-o", "out.npz")
    assert (ran.status, ran.out) == (0, "wrote out.npz\n")
    with np.load(clinic.folder / "out.npz") as read:
        assert {name: read[name].tolist() for name in read.files} == ANSWER


def test_replaces_an_old_answer(clinic: Clinic, server: LiveServer) -> None:
    (clinic.folder / "out.npz").write_bytes(b"before")
    assert clinic.predict(server.target, "--input", X, "-o", "out.npz").status == 0
    assert (clinic.folder / "out.npz").read_bytes().startswith(b"PK")
    assert not [name for name in clinic.files if "partial" in name]


@pytest.mark.parametrize("out", ["x.npy", "trust.toml", "./x.npy", "link", "hard"])
def test_never_overwrites_what_it_read(clinic: Clinic, server: LiveServer, out: str) -> None:
    (clinic.folder / "link").symlink_to("x.npy")
    (clinic.folder / "hard").hardlink_to(clinic.folder / "x.npy")
    before = {name: (clinic.folder / name).read_bytes() for name in clinic.files}
    server.record.calls.clear()
    refused(clinic.predict(server.target, "--input", "x=@x.npy", "-o", out), 8, "also an input")
    assert server.record.calls == []  # told before anything was sent
    assert {name: (clinic.folder / name).read_bytes() for name in clinic.files} == before


def test_a_full_disk_leaves_nothing(
    clinic: Clinic, simulated_root: SimulatedRoot, tmp_path: Path
) -> None:
    large = np.random.default_rng(1).random(2**18, np.float32)
    with (
        speaking(simulated_root, {"y": ("FP32", large)}) as server,
        cramped(tmp_path / "disk", 512) as disk,
    ):
        ran = clinic.predict(server.target, "--input", X, "-o", "disk/out.npz")
        refused(ran, 10, "out.npz: cannot be written: ")
        assert list(disk.iterdir()) == []


PLACES = {
    "a folder that is not there": ("nowhere/out.npz", "cannot be written: No such file"),
    "a folder that is a file": ("x.npy/out.npz", "cannot be written: Not a directory"),
    "a folder of the system's": ("/proc/out.npz", "cannot be written: "),
    "a name that is too long": (f"{'n' * 251}.npz", "cannot be written: File name too long"),
    "another kind of file": ("out.csv", "written as .npz alone, not as .csv\nhint: -o out.npz"),
    "no kind of file": ("out", "written as .npz alone"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_takes_no_answer_is_told_before_data_leaves(
    clinic: Clinic, server: LiveServer, name: str
) -> None:
    before = clinic.files
    server.record.calls.clear()
    out, words = PLACES[name]
    refused(clinic.predict(server.target, "--input", X, "-o", out), 8, out, words)
    assert server.record.calls == []
    assert clinic.files == before


def test_a_suffix_in_capitals(clinic: Clinic, server: LiveServer) -> None:
    assert clinic.predict(server.target, "--input", X, "-o", "OUT.NPZ").status == 0


def test_a_failure_leaves_no_file(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root, "debug")) as server:
        refused(clinic.predict(server.target, "--input", X, "-o", "out.npz"), 6)
    assert "out.npz" not in clinic.files


def test_the_simulated_platform_is_named(clinic: Clinic, server: LiveServer) -> None:
    ran = clinic.predict(server.target, "--input", X, "--json")
    assert "SIMULATED PLATFORM: this verdict proves nothing about hardware" in ran.err


def test_every_danger_is_told(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    clinic.trust(more="[danger]\nallow_debug = true\nwithout_nonce = true\n")
    with case.live(case.machine(simulated_root, "debug")) as server:
        ran = clinic.predict(server.target, "--input", X, "--json")
    assert ran.json == {"outputs": ANSWER}
    assert "DANGER: debug machines are accepted: the host can read their memory" in ran.err
    assert "DANGER: no nonce is required: evidence may be old and replayed" in ran.err


def test_without_danger_there_is_none(clinic: Clinic, server: LiveServer) -> None:
    assert "DANGER" not in clinic.predict(server.target, "--input", X).err


# ---- what it refuses


def test_a_machine_that_is_not_genuine(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root, "other-key")) as server:
        refused(clinic.predict(server.target, "--input", X), 5, "sealserve: ")
        assert server.record.calls == []


def test_a_genuine_machine_that_is_not_acceptable(clinic: Clinic, server: LiveServer) -> None:
    clinic.trust((case.ROOT.hex(), "aa" * 32))
    refused(clinic.predict(server.target, "--input", X), 6, case.ROOT.hex(), "aa" * 32)


def test_a_model_nobody_approved(clinic: Clinic, server: LiveServer) -> None:
    ran = clinic.run("predict", server.target, "lung", "--trust", "trust.toml", "--input", X)
    refused(ran, 6, "model_unknown: seen lung; wanted breast-cancer", "hint: add [models.lung]")


def test_a_model_whose_name_is_nearly_right(clinic: Clinic, server: LiveServer) -> None:
    words = ("brest-cancer", "--trust", "trust.toml", "--input", X)
    refused(clinic.run("predict", server.target, *words), 6, "hint: did you mean breast-cancer?")


def test_a_model_by_a_name_the_server_does_not_have(
    clinic: Clinic, simulated_root: SimulatedRoot
) -> None:
    with case.live(case.machine(simulated_root)) as server:
        server.serve_instead(case.ROOT, "lung")
        ran = clinic.predict(server.target, "--input", X)
        refused(ran, 9, "no model 'breast-cancer' is served here\nhint: `sealserve check` says")


def test_inputs_the_model_does_not_take(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    """They fit what the server told of it, and ONNX Runtime refused them: no rows, say."""
    rewrites = {names.MODEL_INFER: failing(Code.INVALID_ARGUMENT, times=1)}
    with case.live(case.machine(simulated_root), rewrites=rewrites) as server:
        ran = clinic.predict(server.target, "--input", X)
    both = "sent x FP32 [2, 3]; the model takes x FP32 [-1, 3]"
    refused(ran, 9, f"prediction by breast-cancer: on purpose: {both}")


def test_a_model_that_was_exchanged(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    with case.live(case.machine(simulated_root)) as server:
        server.serve_instead(case.OTHER)
        refused(clinic.predict(server.target, "--input", X), 6, "hint: the server changed its")
        assert server.record.prediction_bytes == 0


def test_an_answer_that_is_none(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    rewrites = {names.MODEL_INFER: lambda data, _: b"\xff"}
    with case.live(case.machine(simulated_root), rewrites=rewrites) as server:
        refused(clinic.predict(server.target, "--input", X), 4, "does not fit")


def test_a_server_that_wants_a_token(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    rewrites = {names.MODEL_INFER: failing(Code.UNAUTHENTICATED, times=1)}
    with case.live(case.machine(simulated_root), rewrites=rewrites) as server:
        refused(clinic.predict(server.target, "--input", X), 8, "token")


def test_a_busy_server(clinic: Clinic, simulated_root: SimulatedRoot) -> None:
    rewrites = {names.MODEL_INFER: failing(Code.RESOURCE_EXHAUSTED, times=1, pushback="100")}
    with case.live(case.machine(simulated_root), rewrites=rewrites) as server:
        refused(clinic.predict(server.target, "--input", X), 10, "on purpose")


def test_nobody_there(clinic: Clinic) -> None:
    refused(clinic.predict(f"127.0.0.1:{free_port()}", "--input", X), 10, "no TLS 1.3 handshake")


def test_a_trust_file_that_is_none(clinic: Clinic, server: LiveServer) -> None:
    clinic.trust(("version = 1", "version = 2"))
    refused(clinic.predict(server.target, "--input", X), 8, "trust.toml:1, key version")


MISFITS = {
    "another name": ["--input", "y=[[1,2,3]]"],
    "one too many": ["--input", X, "--input", "y=1"],
    "another width": ["--input", "x=[[1,2]]"],
    "words": ["--input", 'x=[["a","b","c"]]'],
    "an object": ["--input", 'x={"a": 1}'],
    "nothing": ["--input", "x=null"],
    "beyond FP32": ["--input", "x=[[1,2,1e300]]"],
    "float64": ["--input", "x=@wide.npy"],
    "an output there is not": ["--input", X, "--output", "z"],
}


@pytest.mark.parametrize("name", MISFITS)
def test_inputs_that_do_not_fit_the_model(clinic: Clinic, server: LiveServer, name: str) -> None:
    np.save(clinic.folder / "wide.npy", ROWS.astype(np.float64))
    server.record.calls.clear()
    refused(clinic.predict(server.target, *MISFITS[name]), 9, "sealserve: ")
    assert server.record.prediction_bytes == 0


USAGE = {
    "nothing": (),
    "no model": ("localhost", "--trust", "trust.toml", "--input", X),
    "no trust": ("localhost", "net", "--input", X),
    "no input": ("localhost", "net", "--trust", "trust.toml"),
    "no time": ("localhost", "net", "--trust", "trust.toml", "--input", X, "--timeout", "-1"),
    "a time that is none": (
        *("localhost", "net", "--trust", "trust.toml", "--input", X, "--timeout", "nan"),
    ),
    "a folder to write to": ("localhost", "net", "--trust", "trust.toml", "--input", X, "-o", "."),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage(clinic: Clinic, name: str) -> None:
    refused(clinic.run("predict", *USAGE[name]), 2, "Usage: sealserve predict", "Error: ")


def test_help(clinic: Clinic) -> None:
    told = clinic.help("predict")
    assert "Example: sealserve predict" in told
    for word in ("--input NAME=VALUE", ".npy", ".npz", ".json", "--output", "--timeout", "--json"):
        assert word in told


def test_as_a_program(clinic: Clinic, server: LiveServer) -> None:
    """Results on stdout, words on stderr, in a process of its own."""
    command = ["predict", server.target, "breast-cancer", "--trust", "trust.toml", "--input", X]
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "sealserve", *command, "--json"],
        cwd=clinic.folder,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"outputs": ANSWER}
    assert "SIMULATED PLATFORM" in ran.stderr
