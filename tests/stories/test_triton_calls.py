"""NVIDIA's `tritonclient[grpc]`, unmodified, makes every call it has: what each one gets.

Its program runs once, against a server of a model for each data type; see support/triton_calls.py.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

from sealserve import __version__
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import open_inference_pb2 as pb
from support.control_case import Control, Socket
from support.every_type import MODELS, TYPES, serving_every_type
from support.server_process import SECONDS, clean_environment

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-tritonclient" / "bin" / "python"
PROGRAM = ROOT / "tests" / "support" / "triton_calls.py"
OPERATORS = PROGRAM.with_name("triton_control.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot) -> Any:
    assert PYTHON.exists(), "`make build/stamps/peer` sets up tritonclient"
    with serving_every_type(tmp_path_factory.mktemp("triton"), simulated_root) as (target, pem):
        return ran(PROGRAM, target, pem)


def ran(*command: str | Path) -> Any:
    """What a program of the other environment prints."""
    ended = subprocess.run(
        [PYTHON, "-I", *command],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_server_and_its_models_are_told(told: Any) -> None:
    assert told["server"]["told"] == {
        "name": "sealserve",
        "version": __version__,
        "extensions": ["model_configuration", "model_repository", "statistics"],
    }
    assert [model["name"] for model in told["index"]["told"]["models"]] == list(MODELS)
    assert {model["state"] for model in told["index"]["told"]["models"]} == {"READY"}


def test_a_model_is_configured(told: Any) -> None:
    config = told["config"]["told"]["config"]
    assert (config["name"], config["platform"]) == ("pair", "onnxruntime_onnx")
    assert [(t["name"], t["data_type"], t["dims"]) for t in config["input"]] == [
        ("a", "TYPE_FP32", ["-1", "2"]),
        ("b", "TYPE_FP32", ["-1", "2"]),
    ]
    assert [t["name"] for t in config["output"]] == ["sum", "difference"]
    assert told["config_of_text"]["told"]["config"]["input"][0]["data_type"] == "TYPE_STRING"


def fields(message: Descriptor) -> Any:
    yield message.full_name, {field.name: field.number for field in message.fields}
    for nested in message.nested_types:
        yield from fields(nested)


def test_our_numbers_are_this_librarys(told: Any) -> None:
    theirs = told["numbers"]["told"]
    ours = {"inference.DataType": dict(pb.DataType.items())}
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        ours.update(fields(message))
    for name, numbers in ours.items():
        assert numbers.items() <= theirs[name].items()


@pytest.mark.parametrize("rows", ["every_type", "every_type_without_a_row"])
def test_every_data_type_comes_back_bit_by_bit(told: Any, rows: str) -> None:
    assert told[rows]["told"] == dict.fromkeys(TYPES, True)


def test_several_inputs_and_outputs(told: Any) -> None:
    assert told["two_inputs_and_two_outputs"]["told"] == {
        "sum": [[11, 22]],
        "difference": [[9, 18]],
    }
    assert told["one_output_of_two"]["told"] == ["one of two", ["difference"]]


@pytest.mark.parametrize(
    "name", ["with_compression", "with_patience_and_priority", "in_the_background"]
)
def test_predictions_in_other_ways(told: Any, name: str) -> None:
    assert told[name] == {"told": True}


def test_statistics(told: Any) -> None:
    (model,) = told["statistics"]["told"]["model_stats"]
    assert (model["name"], model["version"]) == ("FP64", "1.0")
    assert model["inference_count"] == model["execution_count"] == "3"
    spent = model["inference_stats"]
    assert [name for name in spent if spent[name].get("count") == "3"] == [
        "success",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
    ]
    assert told["statistics_of_all"]["told"] == len(MODELS)


REFUSALS = {
    "load": ("UNIMPLEMENTED", "--model-control"),
    "load_with_files": ("UNIMPLEMENTED", "--model-control"),
    "unload": ("UNIMPLEMENTED", "--model-control"),
    "shared_memory": ("UNIMPLEMENTED", ""),
    "traces": ("UNIMPLEMENTED", ""),
    "unknown_model": ("NOT_FOUND", "no model 'absent'"),
    "unknown_version": ("NOT_FOUND", "version '9'"),
    "unknown_output": ("INVALID_ARGUMENT", "no output 'z'"),
    "unknown_parameter": ("INVALID_ARGUMENT", "parameter 'top_k'"),
    "a_sequence": ("INVALID_ARGUMENT", "parameter 'sequence_end'"),
    "a_classification": ("INVALID_ARGUMENT", "parameter 'classification'"),
    "another_shape": ("INVALID_ARGUMENT", "has shape [1, 3]"),
    "another_root": ("FAILED_PRECONDITION", "has the root"),
    "a_stream_that_ends_with_the_first_error": ("NOT_FOUND", "no model 'absent'"),
}


@pytest.mark.parametrize(("name", "refusal"), REFUSALS.items(), ids=REFUSALS.keys())
def test_a_refusal_has_its_status_and_words(told: Any, name: str, refusal: tuple[str, str]) -> None:
    status, words = refusal
    assert told[name]["status"] == f"StatusCode.{status}"
    assert words in told[name]["message"]


def test_a_stream_answers_in_order_and_goes_on_after_errors(told: Any) -> None:
    answers = told["a_stream"]["told"]
    assert len(answers) == 50
    for number, answer in enumerate(answers):
        if number % 10:
            assert answer == [str(number), [[number, number]], True]
        else:
            assert "no model 'absent'" in answer


def test_a_stream_can_be_cancelled(told: Any) -> None:
    assert told["a_stream_that_is_cancelled"] == {"told": True}


def test_the_asynchronous_client_gets_the_same(told: Any) -> None:
    assert told["asyncio"]["told"] == {
        "live": True,
        "ready": True,
        "model_ready": True,
        "model": "FP32",
        "config": "FP32",
        "index": len(MODELS),
        "statistics": 1,
        "infer": True,
        "streamed": [[str(number), True] for number in range(50)],
    }


def test_every_call_was_made(told: Any) -> None:
    """Nothing that the program does is left without a look at what came of it."""
    seen = {"server", "index", "config", "config_of_text", "numbers", "asyncio", "a_stream",
            "every_type", "every_type_without_a_row", "two_inputs_and_two_outputs", "statistics",
            "one_output_of_two", "with_compression", "with_patience_and_priority",
            "in_the_background", "statistics_of_all", "a_stream_that_is_cancelled"}  # fmt: skip
    assert told.keys() == seen | REFUSALS.keys()


def test_an_operator_loads_and_unloads_with_it(tmp_path: Path) -> None:
    control = Control()
    socket = Socket(control, tmp_path / "control")
    try:
        told = ran(OPERATORS, tmp_path / "control")
    finally:
        socket.stop()
    assert control.done == ["load m", "unload m"]
    assert (told["load"], told["unload"]) == (None, None)
    assert [model["name"] for model in told["index"]["models"]] == ["m", "n"]
    assert [model["name"] for model in told["statistics"]["model_stats"]] == ["m"]
    assert told["a configuration"] == told["files"] == "StatusCode.INVALID_ARGUMENT"
    assert told["a prediction"] == "StatusCode.UNIMPLEMENTED"
