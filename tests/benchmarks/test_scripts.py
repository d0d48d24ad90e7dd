"""Every benchmark runs, and says what it promises to say. No rate or ratio is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("*.py"))}
# Each starts servers of several kinds, one after the other.
LONG = {"serving", "workers", "cold_start", "overload", "replicas"}
NAMES = [pytest.param(n, marks=pytest.mark.long) if n in LONG else n for n in SCRIPTS]
SPEED = {
    "question",
    "name",
    "bytes",
    "threads",
    "gb_per_s",
    "best_gb_per_s",
    "spread_gb_per_s",
    "bytes_per_cycle",
    "clock_ghz",
}
EVENT = {"question", "name", "threads", "us", "best_us", "spread_us", "clock_ghz"}
# The table of goals, by what each is called in the object.
GOALS = {
    "aead": {
        "against OpenSSL, EVP": 2.6,
        "against decrypt_into at 64 KiB": 1.10,
        "against decrypt_into at its best size": 1.0,
        "AES-256-GCM over 64 KiB, of the port limit": 0.90,
    },
    "verity": {
        "against hashlib, leaf by leaf": 2.2,
        "SHA-256 of leaves, of the port limit": 0.85,
    },
    "load": {
        "load, against OpenSSL": 2.0,
        "2 threads, against 1": 1.8,
        "load, against veritysetup verify": 1.8,
        "verify only, against veritysetup verify": 2.0,
        "one range, times its floor": 1.3,
        "anonymous and shared memory beside the plaintext": 24,
    },
    "seal": {"against OpenSSL": 2.0},
    "verify": {"roots already checked": 1.15, "everything anew": 1.3},
    "release": {"lost or wrong": 0},
    "layers": {
        "1000 files in 4 MiB, against veritysetup format": 1.5,
        "500 small files, against veritysetup format": 1.0,
    },
    "connect": {},  # its parts are told, and no goal is set
    "serving": {
        "tabular, against MLServer": 2.5,
        "tabular, against KServe's Python server": 1.8,
        "tabular, against PyTriton": 1.6,
        "tabular, against bare, TLS": 0.95,
        "tabular, latency": 1.08,
        "mlp, against MLServer": 2.0,
        "mlp, against KServe's Python server": 2.0,
        "mlp, against PyTriton": 1.2,
        "mlp, against bare, TLS": 2.0,
        "mlp, latency": 1.05,
        "conv, against MLServer": 4.0,
        "conv, against KServe's Python server": 1.05,
        "conv, against PyTriton": 1.15,
        "conv, against bare, TLS": 1.0,
        "conv, latency": 1.05,
    },
    "workers": {"tabular, two workers against one": 1.5},
    "cold_start": {
        "cold start, times plain": 1.20,
        "cold start with --early, times plain": 0.5,
        "memory, times plain": 1.15,
    },
    "overload": {"99 % of calls end within": 550, "goodput short of the peak": 10},
    "replicas": {"lost or wrong": 0},
}
OF_EVENTS = {
    "verify",
    "connect",
    "release",
    "serving",
    "workers",
    "cold_start",
    "overload",
    "replicas",
}
ALONE = {"replicas"}  # nobody else does this
LOAD = EVENT | {"per_second", "p99_us"}  # events that several threads waited for at once
REQUESTS = {
    "question",
    "name",
    "in_flight",
    "per_second",
    "best_per_second",
    "spread_per_second",
    "clock_ghz",
}


class Told(dict[str, dict[str, Any]]):
    """What each script says in a quick run, which left nothing behind; run when it is asked for."""

    def __init__(self, temporary: Path) -> None:
        super().__init__()
        self._temporary = temporary

    def __missing__(self, name: str) -> dict[str, Any]:
        self[name] = said = run(SCRIPTS[name], self._temporary)
        assert list(self._temporary.iterdir()) == []
        return said


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("benchmarks"))


def run(script: Path, temporary: Path, **environment: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, script, "--quick", "--json", "--repeats", "2"],
        cwd=temporary,
        env={**os.environ, "TMPDIR": str(temporary), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "2 rounds of turns" in ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


def test_these_are_the_questions() -> None:
    assert set(SCRIPTS) == set(GOALS)


@pytest.mark.parametrize("name", NAMES)
def test_the_object_has_its_form(name: str, told: Told) -> None:
    said = told[name]
    assert said["benchmark"] == name
    assert said["repeats"] == 2
    assert set(said["machine"]) == {"processor", "cores", "openssl", "date"}
    assert set(said["disturbance"]) == {"load_average", "stolen"}
    assert set(said["kernels"]) == {"gcm", "sha256"}
    forms = (EVENT, LOAD, REQUESTS) if name in OF_EVENTS else (SPEED,)
    missing = {"question", "name", "missing"}
    assert all(set(record) in forms for record in said["ours"])
    assert all(set(record) in (*forms, missing) for record in said["peers"])
    assert said["ours"]
    assert said["peers"] or name in ALONE


@pytest.mark.parametrize("name", NAMES)
def test_every_goal_has_its_ratio_or_says_why_not(name: str, told: Told) -> None:
    ratios = {record["what"]: record for record in told[name]["ratios"]}
    missing = {record["what"] for record in told[name]["limit"] if "missing" in record}
    for what, goal in GOALS[name].items():
        record = ratios.get(what)
        if record is None:
            assert what.removesuffix(", of the port limit").split(", times")[0] in missing
        elif "missing" not in record:
            assert goal in (record.get("at_least"), record.get("at_most"))
            assert record["reached"] == holds(record)


def holds(record: dict[str, Any]) -> bool:
    value: float = record["value"]
    return record.get("at_least", value) <= value <= record.get("at_most", value)


@pytest.mark.parametrize("name", NAMES)
def test_a_speed_lies_in_its_spread(name: str, told: Told) -> None:
    speeds = [r for r in told[name]["ours"] + told[name]["peers"] if "missing" not in r]
    for record in speeds:
        if "in_flight" in record:
            low, high = record["spread_per_second"]
            assert 0 < low <= record["per_second"] <= high <= record["best_per_second"]
        elif name in OF_EVENTS:
            low, high = record["spread_us"]
            assert 0 < record["best_us"] <= low <= record["us"] <= high
        else:
            low, high = record["spread_gb_per_s"]
            assert 0 < low <= record["gb_per_s"] <= high <= record["best_gb_per_s"]
        assert record["clock_ghz"] > 0


def test_charts_are_drawn_from_the_objects(told: Told, tmp_path: Path) -> None:
    for name, said in told.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    command = [sys.executable, "-m", "support.draw", tmp_path, tmp_path / "out"]
    subprocess.run(command, cwd=ROOT / "benchmarks", env=environment, check=True)
    charts = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(charts) == {"peers.svg", "size.svg", "threads.svg"}
    assert set(charts) == {path.name for path in (ROOT / "docs/bench").iterdir()}
    for chart in charts.values():
        assert "GB/s" in chart
        assert told["aead"]["machine"]["date"] in chart
        assert "prefers-color-scheme: dark" in chart
        assert "#010203" not in chart


def test_without_our_kernels_no_limit_is_stated(tmp_path: Path) -> None:
    said = run(SCRIPTS["verity"], tmp_path, SEALSERVE_SHA256="libcrypto")
    assert said["kernels"]["sha256"][0] == "libcrypto"
    assert [record.get("missing") for record in said["limit"]] == [
        "no model of ports but for kernel x16"
    ]


def test_a_program_that_is_not_installed_has_a_row_that_says_so(told: Told, tmp_path: Path) -> None:
    assert told  # its runs built what this one, which finds no compiler, uses
    bare = tmp_path / "bin"
    bare.mkdir()
    said = run(SCRIPTS["verity"], tmp_path, PATH=str(bare))
    missing = {record["name"]: record["missing"] for record in said["peers"] if "missing" in record}
    assert missing["fsverity digest"] == "not installed: apt-get install fsverity"
    (ratio,) = [r for r in said["ratios"] if r["what"] == "against fsverity digest"]
    assert ratio == {"what": "against fsverity digest", "missing": "no peer"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--size", "5000"], "--size is 5000; a multiple of 4096 is needed"),
        (["--size", "0"], "--size is 0; a multiple of 4096 is needed"),
        (["--repeats", "0"], "--repeats is 0; at least 1 is needed"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error(arguments: list[str], why: str) -> None:
    command = [sys.executable, SCRIPTS["verity"], *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert why in ran.stderr
