"""A caller's token on the command line: from a file, to verified servers, never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import names
from support import client_case as case
from support.client_cli import Clinic

TOKEN = "tell-nobody"
X = "x=[[1,2,3]]"


@pytest.fixture
def clinic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], simulated_root: SimulatedRoot
) -> Clinic:
    return Clinic(tmp_path, capsys, simulated_root)


def written(clinic: Clinic, text: str, mode: int = 0o600) -> str:
    path = clinic.folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return path.name


@pytest.mark.parametrize("verb", ["predict", "check"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_it_is_sent_with_calls_and_not_with_the_challenge(
    clinic: Clinic, simulated_root: SimulatedRoot, verb: str, end: str
) -> None:
    seen: dict[str, list[str]] = {}

    def note(method: str) -> Any:
        def rewrite(data: bytes, context: Any) -> bytes:
            metadata = context.invocation_metadata()
            seen[method] = [str(v) for k, v in metadata if k == "authorization"]
            return data

        return rewrite

    every = (names.GET_EVIDENCE, names.MODEL_METADATA)
    rewrites = {method: note(method) for method in every}
    with case.live(case.machine(simulated_root), rewrites=rewrites) as server:
        options = ["--token-file", written(clinic, TOKEN + end)]
        if verb == "predict":
            ran = clinic.predict(server.target, "--input", X, *options)
        else:
            ran = clinic.check(server.target, *options)
    assert ran.status == 0
    assert seen == {names.GET_EVIDENCE: [], names.MODEL_METADATA: [f"Bearer {TOKEN}"]}
    assert TOKEN not in ran.out + ran.err


BAD = {
    "everybody may read it": (TOKEN, 0o604, "everybody may read it\nhint: chmod o= token"),
    "two words": (f"{TOKEN} x", 0o600, "token is none"),
    "two lines": (f"{TOKEN}\n\n", 0o600, "token is none"),
    "nothing": ("", 0o600, "token is none"),
    "no ASCII": (f"{TOKEN}ä", 0o600, "holds no token"),
    "too much": (TOKEN * 1000, 0o600, "is longer than 8192 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_holds_none(clinic: Clinic, name: str) -> None:
    text, mode, words = BAD[name]
    ran = clinic.predict("127.0.0.1:1", "--input", X, "--token-file", written(clinic, text, mode))
    assert ran.status == 8
    assert words in ran.err
    assert TOKEN not in ran.err


def test_a_file_that_is_not_there(clinic: Clinic) -> None:
    ran = clinic.predict("127.0.0.1:1", "--input", X, "--token-file", "absent")
    assert (ran.status, "cannot be read" in ran.err) == (8, True)


def test_a_check_of_replicas_passes_if_all_pass(
    clinic: Clinic, simulated_root: SimulatedRoot
) -> None:
    with (
        case.live(case.machine(simulated_root)) as one,
        case.live(case.machine(simulated_root)) as two,
        case.live(case.machine(simulated_root, "debug")) as bad,
    ):
        assert clinic.check(f"{one.target},{two.target}").status == 0
        refused = clinic.check(f"{one.target},{bad.target}")
        assert clinic.predict(f"{bad.target},{two.target}", "--input", X).status == 0
        assert bad.record.prediction_bytes == 0
    assert refused.status == 6
    assert refused.out == ""
