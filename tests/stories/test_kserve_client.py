"""KServe's own gRPC client, unmodified, makes every call it has: what each one gets.

It lives in a virtual environment of its own, with some seventy packages, which `make` sets up. Its
program runs once; see support/kserve_peer.py.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from support.every_type import TYPES, serving_every_type
from support.server_process import SECONDS, clean_environment

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.long  # KServe brings 450 MB of packages along

PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
PROGRAM = ROOT / "tests" / "support" / "kserve_peer.py"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot) -> Any:
    assert PYTHON.exists(), "`make build/stamps/kserve` sets up KServe's client"
    with serving_every_type(tmp_path_factory.mktemp("kserve"), simulated_root) as (target, pem):
        ran = subprocess.run(
            [PYTHON, "-I", PROGRAM, target, pem],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_server_and_a_model_are_ready_and_another_is_not(told: Any) -> None:
    assert told["health"]["told"] == [True, True, True, False]


def test_every_data_type_comes_back_bit_by_bit(told: Any) -> None:
    """It knows no BF16, and no typed contents of FP16."""
    known = TYPES.keys() - {"BF16"}
    assert told["every_type_raw"]["told"] == dict.fromkeys(known, True)
    assert told["every_type_typed"]["told"] == dict.fromkeys(known - {"FP16"}, True)


def test_a_batch_may_be_empty(told: Any) -> None:
    assert told["no_rows"] == {"told": True}


def test_an_id_comes_back_and_an_output_can_be_chosen(told: Any) -> None:
    assert told["an_id_and_one_output_of_two"]["told"] == ["7", {"difference": [[2, 4]]}]


REFUSALS = {
    "the_root": ("FAILED_PRECONDITION", "has the root"),
    "unknown_model": ("NOT_FOUND", "no model 'absent'"),
    "unknown_parameter": ("INVALID_ARGUMENT", "parameter 'explain'"),
    "another_shape": ("INVALID_ARGUMENT", "has shape [1, 3]"),
}


@pytest.mark.parametrize(("name", "refusal"), REFUSALS.items(), ids=REFUSALS.keys())
def test_a_refusal_has_its_status_and_words(told: Any, name: str, refusal: tuple[str, str]) -> None:
    status, words = refusal
    assert told[name]["status"] == status
    assert words in told[name]["message"]
