"""`sealserve policy diff` and `lint`, and denials in `explain`: words, JSON and exit statuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sealserve.cli.main import run
from sealserve.policy.execution import generate_process
from support.models_cli import Ran

VECTORS = Path(__file__).parent.parent / "vectors"
SIDECAR = VECTORS / "evidence/sidecar/aci-milan-v2"  # a report, and the policy that it is of
TEXT = generate_process(["serve"])


class Judge:
    """Runs `sealserve policy` on files of one folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._captured = capsys

    def file(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def run(self, *arguments: str) -> Ran:
        status = run(["policy", *arguments])
        out, err = self._captured.readouterr()
        assert "Traceback" not in err
        assert "unforeseen" not in err
        return Ran(status, out, err)


@pytest.fixture
def judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Judge:
    return Judge(tmp_path, capsys)


# ---- diff


def test_a_policy_allows_what_it_allows(judge: Judge) -> None:
    one = judge.file("a.rego", TEXT)
    other = judge.file("b.txt", base64.b64encode(TEXT))
    ran = judge.run("diff", one, other)
    assert (ran.status, ran.out) == (0, f"{one} and {other} allow the same\n")
    told = judge.run("diff", one, other, "--json").json
    assert (told["only_a"], told["only_b"], told["same_text"]) == ([], [], True)


def test_other_bytes_of_one_meaning_are_told(judge: Judge) -> None:
    one, other = judge.file("a.rego", TEXT), judge.file("b.rego", TEXT + b"\n")
    ran = judge.run("diff", one, other)
    assert ran.status == 0
    assert "allow the same, but their texts differ, and with them HOST_DATA" in ran.out


def test_differences_are_told_both_ways(judge: Judge) -> None:
    one = judge.file("a.rego", generate_process(["serve"], env_rules=["A=1"]))
    other = judge.file("b.rego", generate_process(["serve"], working_dir="/srv"))
    ran = judge.run("diff", one, other)
    assert ran.status == 1
    key = "  containers[0] (process)"
    assert ran.out.splitlines() == [
        f"accepted by {one}, not by {other}:",
        f'{key}.working_dir: "/"; wanted "/srv"',
        f'{key}.env_rules: {{"pattern": "A=1", "strategy": "string"}}',
        f"accepted by {other}, not by {one}:",
        f'{key}.working_dir: "/srv"; wanted "/"',
    ]
    told = judge.run("diff", one, other, "--json").json
    assert [len(told[side]) for side in ("only_a", "only_b")] == [2, 1]
    assert told["sha256_a"] != told["sha256_b"]


def test_a_report_is_of_one_policy(judge: Judge) -> None:
    report, policy = SIDECAR / "report.bin", SIDECAR / "cce_policy.rego"
    ran = judge.run("diff", str(report), str(policy))
    assert ran.status == 0
    assert "are of one policy" in ran.out
    assert judge.run("diff", str(policy), str(report), "--json").json["same_text"] is True


def test_a_report_of_another_policy_says_which_if_it_is_known(judge: Judge) -> None:
    ran = judge.run("diff", judge.file("a.rego", TEXT), str(SIDECAR / "report.bin"))
    assert ran.status == 1
    assert "HOST_DATA differs; a report does not say in what" in ran.out
    assert "the allow-all policy of the confidential sidecar's samples" in ran.out


def test_a_report_that_is_none(judge: Judge) -> None:
    ran = judge.run("diff", judge.file("r.bin", b"\xff" * 1184), judge.file("a.rego", TEXT))
    assert (ran.status, ran.out) == (8, "")
    assert "has the length of an attestation report and is none" in ran.err


def test_a_group_of_a_template_is_chosen(judge: Judge) -> None:
    kind = "Microsoft.ContainerInstance/containerGroups"
    carried = {"ccePolicy": base64.b64encode(TEXT).decode()}
    groups = [
        {"type": kind, "name": name, "properties": {"confidentialComputeProperties": carried}}
        for name in ("a", "b")
    ]
    template = judge.file("t.json", json.dumps({"resources": groups}).encode())
    policy = judge.file("p.rego", TEXT)
    ran = judge.run("diff", policy, template)
    assert ran.status == 8
    assert "--group" in ran.err
    assert judge.run("diff", policy, template, "--group", "b").status == 0
    assert judge.run("lint", template, "--group", "b").status == 0
    assert judge.run("explain", template, "--group", "a").status == 0
    assert [line.split()[1] for line in judge.run("hash", template).out.splitlines()] == ["a", "b"]
    assert len(judge.run("hash", template, "--json").json["policies"]) == 2


# ---- lint


def test_notes_alone_are_no_failure(judge: Judge) -> None:
    ran = judge.run("lint", judge.file("a.rego", TEXT))
    assert ran.status == 0
    assert all(line.startswith(("  note", "          hint")) for line in ran.out.splitlines())


def test_the_worst_stands_first(judge: Judge) -> None:
    rules = ["re2:A=.*", "re2:LD_.*=.*"]
    policy = judge.file("a.rego", generate_process(["serve"], env_rules=rules))
    ran = judge.run("lint", policy)
    assert ran.status == 1
    assert ran.out.startswith("  CRITICAL  containers[0] (process).env_rules[1]: ")
    told = judge.run("lint", policy, "--json")
    assert told.status == 1
    assert [each["rank"] for each in told.json["remarks"]][:2] == ["critical", "critical"]


def test_what_a_policy_says_cannot_move_a_cursor(judge: Judge) -> None:
    evil = "\x1b[2J\n\u202e"
    policy = judge.file("a.rego", generate_process([evil], env_rules=[f"LD_X={evil}"]))
    for verb in ("lint", "explain"):
        told = judge.run(verb, policy).out
        assert all(line.isprintable() for line in told.splitlines())
    other = judge.file("b.rego", TEXT)
    assert all(line.isprintable() for line in judge.run("diff", policy, other).out.splitlines())


@pytest.mark.parametrize("verb", ["lint", "explain"])
def test_rules_of_ones_own_are_refused_in_so_many_words(judge: Judge, verb: str) -> None:
    ran = judge.run(verb, judge.file("a.rego", b"package policy\n\nmount_device { true }\n"))
    assert (ran.status, ran.out) == (8, "")
    assert "a.rego:3: 'mount_device' is a rule of its own, not data" in ran.err


# ---- denials


def test_a_denial_is_explained(judge: Judge) -> None:
    content = {
        "decision": "deny",
        "input": {"argList": ["x"]},
        "reason": {"errors": ["invalid command"]},
    }
    text = base64.b64encode(json.dumps(content).encode()).decode()
    log = judge.file("log", f"… policyDecision< {text} >policyDecision …".encode())
    ran = judge.run("explain", log)
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[:3] == [
        "denied by the policy of the machine",
        "  reason    invalid command",
        "            no container of these layers has this command",
    ]
    assert lines[3].startswith("            hint: write the policy anew")
    assert lines[4:] == ['  asked     argList: ["x"]']
    (told,) = judge.run("explain", log, "--json").json["denials"]
    assert (told["decision"], told["input"]) == ("deny", {"argList": ["x"]})
