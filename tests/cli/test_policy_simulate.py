"""`sealserve policy simulate`: requests in, decisions out, to people and to programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sealserve.cli.main import run
from sealserve.policy.execution import rego_engine
from support.models_cli import Ran
from support.policy_decisions import DIRECTORY, cases_of

CASES = cases_of(DIRECTORY)
POLICY = DIRECTORY / "aci_two_containers.rego"
KNOWN = "40deb85886fc0283fa4600ab737be7a3f65074b4639e026f691f40cef87cc841"
PLACE = "/run/mounts/scsi/m[0-9]+"


def mount(digest: str, target: str = "/run/mounts/scsi/m0") -> dict[str, Any]:
    given = {"target": target, "deviceHash": digest, "mountPathRegex": PLACE}
    return {"point": "mount_device", "input": given}


class Simulator:
    """Runs the verb on a file of requests."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "requests.json"
        self._captured = capsys

    def run(self, requests: object, *options: str, policy: Path = POLICY) -> Ran:
        text = requests if isinstance(requests, str) else json.dumps(requests)
        self.file.write_text(text, encoding="utf-8")
        status = run(["policy", "simulate", str(policy), str(self.file), *options])
        out, err = self._captured.readouterr()
        assert "Traceback" not in err
        assert "unforeseen" not in err
        return Ran(status, out, err)

    def refused(self, requests: object, *words: str, policy: Path = POLICY) -> None:
        ran = self.run(requests, policy=policy)
        assert (ran.status, ran.out) == (8, ""), ran
        for word in words:
            assert word in ran.err


@pytest.fixture
def simulator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Simulator:
    return Simulator(tmp_path, capsys)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_vectors_are_files_of_requests(simulator: Simulator, case: Any) -> None:
    policy = DIRECTORY / str(case.head["policy"])
    ran = simulator.run(case.path.read_text(encoding="utf-8"), "--json", policy=policy)
    steps = ran.json["steps"]
    expected = [step["expect"]["allowed"] for step in case.head["steps"]]
    assert ran.status == (0 if all(expected) else 6)
    assert [step["allowed"] for step in steps] == expected
    assert ran.json["sha256"] == case.head["policy_sha256"]
    told = simulator.run(case.path.read_text(encoding="utf-8"), policy=policy).out
    assert all(line.isprintable() for line in told.splitlines())


def test_all_allowed(simulator: Simulator) -> None:
    ran = simulator.run([mount(KNOWN)])
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == "   0  mount_device              allowed\n"


def test_a_denial_names_the_field_both_sides_and_the_way_out(simulator: Simulator) -> None:
    ran = simulator.run([{**mount("00" * 32), "note": "unknown"}])
    assert ran.status == 6
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[0] == "0  mount_device              DENIED   unknown"
    assert lines[1].startswith("by        line 30 of the policy: mount_device := data.framework.")
    assert lines[2].startswith(f'deviceHash: seen "{"00" * 32}"; wanted a layer of a container')
    assert lines[3].startswith("hint: ")
    assert lines[4] == "guest     deviceHash not found"


def test_a_denial_names_the_container(simulator: Simulator) -> None:
    case = next(case for case in CASES if case.name == "aci_two_containers")
    steps = case.head["steps"]
    ran = simulator.run({"data": case.head["data"], "steps": [*steps[2:5], steps[10]]})
    told = ran.out.partition("   3  create_container")[2]
    assert "not       containers[0] (web)" in told
    assert 'command: seen ["python3", "evil.py"]; wanted ["python3", "serve.py"]' in told
    programs = simulator.run(
        {"data": case.head["data"], "steps": [*steps[2:5], steps[10]]}, "--json"
    )
    (request, container) = programs.json["steps"][3]["considered"]
    assert request["held"]
    failed = [each for each in container["conditions"] if not each["held"]]
    assert container["container"] == "containers[0] (web)"
    assert [each["field"] for each in failed] == ["command"]
    assert failed[0]["hint"]


def test_values_of_variables_are_never_told(simulator: Simulator) -> None:
    case = next(case for case in CASES if case.name == "aci_two_containers")
    steps = [*case.head["steps"][2:5], case.head["steps"][10]]
    steps[-1]["input"]["envList"] = ["NEEDED=S3CRET", "TOKEN2=S3CRET"]
    told = simulator.run({"data": case.head["data"], "steps": steps}).out
    assert "DENIED" in told
    assert "S3CRET" not in told


def test_what_a_host_says_cannot_move_a_cursor(simulator: Simulator) -> None:
    evil = "\x1b[2J\n\u202e"
    ran = simulator.run([{"point": evil, "input": {}, "note": evil}, mount(evil, evil)])
    assert ran.status == 6
    assert all(line.isprintable() for line in ran.out.splitlines())
    assert r"\x1b[2J" in ran.out


def test_containers_that_a_guest_does_not_see_are_told(simulator: Simulator) -> None:
    policy = simulator.file.with_name("p.rego")
    policy.write_text(
        'package policy\napi_version := "0.10.0"\nframework_version := "0.2.3"\n'
        'containers := [{"name": "web", "layers": []}]\n'
    )
    ran = simulator.run([], policy=policy)
    assert ran.status == 0
    assert ran.out == "nothing was asked\n"
    assert "warning: containers[0] (web) has no command, env_rules, mounts" in ran.err


OWN = """package policy

mount_device { input.deviceHash }
"""
PROGRAM = """package policy

api_version := "0.10.0"
mount_device := {"allowed": true} { input.deviceHash == "aa" }
"""
BUILT_ON = """package policy

api_version := "0.10.0"
framework_version := "0.5.0"
mount_device := data.framework.mount_device { input.target != "/a" }
"""


def test_without_regopy_policies_with_rules_of_their_own_are_refused_in_so_many_words(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rego_engine, "installed", lambda: False)
    policy = simulator.file.with_name("p.rego")
    policy.write_text(OWN)
    words = ("p.rego:3: 'mount_device' is a rule of its own, not data", "hint: only policies that")
    simulator.refused([], *words, "pip install 'sealserve[rego]'", policy=policy)


def test_rules_of_ones_own_are_run_by_regopy_and_every_answer_says_so(
    simulator: Simulator,
) -> None:
    pytest.importorskip("regopy")
    policy = simulator.file.with_name("p.rego")
    policy.write_text(PROGRAM)
    ran = simulator.run([mount("aa")], policy=policy)
    assert ran.status == 0
    assert "warning: every answer is regopy " in ran.err
    assert "a guest may deny what is allowed here" in ran.err
    assert "p.rego, line 4: 'mount_device' is a rule of its own, not data" in ran.err
    assert re.search(r"allowed\n +by +the policy's rule .* run by regopy [0-9.]+: not", ran.out)
    answer = simulator.run([mount("aa"), mount("bb")], "--json", policy=policy)
    assert answer.status == 6
    assert answer.json["engine"].endswith(", not the guest's own")
    assert [step["allowed"] for step in answer.json["steps"]] == [True, False]
    assert all("not the guest's own engine" in step["rule"] for step in answer.json["steps"])


def test_data_is_never_asked_of_regopy(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rego_engine, "installed", lambda: pytest.fail("asked"))
    assert simulator.run([mount(KNOWN)], "--json").json["engine"] == "sealserve"


def test_rules_on_top_of_the_framework_want_its_text(simulator: Simulator) -> None:
    pytest.importorskip("regopy")
    policy = simulator.file.with_name("p.rego")
    policy.write_text(BUILT_ON)
    simulator.refused([mount("aa")], "whose text is not here", "--framework", policy=policy)
    framework = simulator.file.with_name("framework.rego")
    framework.write_text('package framework\nmount_device := {"allowed": true}\n')
    options = ("--framework", str(framework))
    ran = simulator.run([mount("aa"), mount("aa", "/a")], *options, "--json", policy=policy)
    assert [step["allowed"] for step in ran.json["steps"]] == [True, False]
    refused = simulator.run([mount(KNOWN)], *options)
    assert refused.status == 8
    assert "--framework: is only read for a policy with rules of its own" in refused.err


def test_fragments_with_rules_of_their_own_are_refused_by_their_step(simulator: Simulator) -> None:
    steps = {
        "point": "load_fragment",
        "fragment": "package contoso\n\nx { true }\n",
        "issuer": "did:x509:0:sha256:AAAA::subject:CN:Contoso",
        "feed": "example.test/frag",
        "header_svn": 2,
    }
    policy = DIRECTORY / "fragments.rego"
    words = ("steps[0].fragment: line 3 of the fragment: 'x' is a rule of its own", "hint: ")
    simulator.refused([steps], *words, policy=policy)


BAD: dict[str, tuple[object, str]] = {
    "no JSON": ("{", "is not a file of requests"),
    "text": ('"x"', "expected an object"),
    "no steps": ({}, "key steps: seen None; expected a list"),
    "a step is no object": ([1], "key steps[0]: seen 1; expected an object"),
    "no point": ([{"input": {}}], "key steps[0].point: seen None; expected text"),
    "input is a list": ([{"point": "x", "input": []}], "key steps[0].input"),
    "an unknown member": ([{"point": "x", "inputs": {}}], "unknown: 'inputs'; known are"),
    "an unknown member above": ({"steps": [], "x": 1}, "unknown: 'x'; known are"),
    "a fragment without text": ([{"point": "load_fragment"}], "key steps[0].fragment"),
    "a version that is text": (
        [{"point": "load_fragment", "fragment": "", "issuer": "", "feed": "", "header_svn": "1"}],
        "key steps[0].header_svn: seen '1'; expected a number",
    ),
    "another guest": ({"steps": [], "framework_version": "0.3.0"}, "this is a guest of '0.5.0'"),
    "Windows": ({"steps": [], "os": "windows"}, "this is a guest of 'linux'"),
    "unknown data": ({"steps": [], "data": {"x": 1}}, "key data: unknown: 'x'"),
    "a prefix that is none": ({"steps": [], "data": {"sandboxPrefix": ""}}, "expected text"),
    "mounts that are none": ({"steps": [], "data": {"defaultMounts": 1}}, "expected a list"),
    "too many": ([{"point": "x"}] * 10_001, "10001 steps; at most 10000 are read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(simulator: Simulator, name: str) -> None:
    requests, words = BAD[name]
    simulator.refused(requests, words, "hint: ")


def test_help(simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "simulate", "--help"]) == 0
    assert "Example: sealserve policy simulate" in capsys.readouterr().out
