"""`sealserve policy`: what is written is what is hashed, enforced and explained."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from sealserve.cli.main import run
from sealserve.policy.execution import ExecutionPolicy, generate_process
from support.models_cli import Ran
from support.models_cramped import cramped

COMMAND = ("sealserve", "serve", "a b.sealed", "--root", "9f")
TEXT = generate_process(COMMAND, env_rules=["LANG=C.UTF-8", "re2:HOSTNAME=.+"], working_dir="/srv")
SHA256 = hashlib.sha256(TEXT).hexdigest()
OPTIONS = (
    *("--process", "--workdir", "/srv"),
    *("--env-rule", "LANG=C.UTF-8", "--env-rule", "re2:HOSTNAME=.+"),
)


class Writer:
    """Writes policies in a folder."""

    def __init__(self, folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        self.folder = folder
        self.file = folder / "policy.rego"
        self._captured = capfdbinary

    def run(self, *arguments: str) -> Ran:
        """`sealserve policy …`, byte for byte."""
        status = run(["policy", *arguments])
        out, err = self._captured.readouterr()
        ran = Ran(status, out.decode(), err.decode())
        assert "Traceback" not in ran.err
        assert "unforeseen" not in ran.err
        return ran

    def refused(self, status: int, arguments: tuple[str, ...], *words: str) -> None:
        ran = self.run(*arguments)
        assert (ran.status, ran.out) == (status, ""), ran
        for word in words:
            assert word in ran.err


@pytest.fixture
def writer(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Writer:
    monkeypatch.chdir(tmp_path)
    return Writer(tmp_path, capfdbinary)


# ---- generate


def test_generate_writes_the_policy(writer: Writer) -> None:
    ran = writer.run("generate", *OPTIONS, "-o", "policy.rego", "--", *COMMAND)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"wrote policy.rego\nsha256 {SHA256}\n"
    assert writer.file.read_bytes() == TEXT
    assert ExecutionPolicy.parse(TEXT).command == COMMAND


def test_generate_prints_the_policy_and_nothing_else(writer: Writer) -> None:
    """What a pipe gets has the hash that is told: no line break comes with it."""
    ran = writer.run("generate", *OPTIONS, "--", *COMMAND)
    assert (ran.status, ran.out) == (0, TEXT.decode())
    assert ran.err == f"sha256 {SHA256}\n"
    assert list(writer.folder.iterdir()) == []


SEARCHED = {
    "a whole path": (("--", "/usr/bin/true"), ""),
    "a name": (("--", "true"), "warning: 'true' is not the whole path, and no --env-rule lets a"),
    "a name and a PATH": (("--env-rule", "PATH=/usr/bin", "--", "true"), ""),
    "a name and a pattern": (("--env-rule", "re2:PATH=.*", "--", "true"), ""),
    "a path from here": (("--", "bin/true"), "warning: 'bin/true' will be started from / (--work"),
}


@pytest.mark.parametrize("name", SEARCHED)
def test_generate_warns_of_a_command_that_a_machine_may_not_find(writer: Writer, name: str) -> None:
    given, words = SEARCHED[name]
    ran = writer.run("generate", "--process", "-o", "policy.rego", *given)
    assert ran.status == 0
    assert ran.err.startswith(words)
    assert bool(ran.err) == bool(words)


def test_what_is_no_policy_at_all_is_told_as_that(writer: Writer) -> None:
    """And not by the line end that a policy must not have."""
    (writer.folder / "owner.key.pub").write_text("version = 1\n")
    words = "sealserve: owner.key.pub: is not an execution policy: "
    writer.refused(8, ("explain", "owner.key.pub"), words, "hint: ")


def test_generate_tells_programs(writer: Writer) -> None:
    told = writer.run("generate", *OPTIONS, "--json", "--", *COMMAND)
    assert told.json == {"command": list(COMMAND), "sha256": SHA256, "policy": TEXT.decode()}
    told = writer.run("generate", *OPTIONS, "--json", "-o", "policy.rego", "--", *COMMAND)
    assert told.json == {"command": list(COMMAND), "sha256": SHA256, "file": "policy.rego"}


def test_options_of_the_command_are_its_own(writer: Writer) -> None:
    ran = writer.run(
        "generate", "--process", "--json", "--", "serve", "--json", "-o", "x", "--help"
    )
    assert ran.json["command"] == ["serve", "--json", "-o", "x", "--help"]
    assert list(writer.folder.iterdir()) == []


def test_without_rules_and_folder(writer: Writer) -> None:
    ran = writer.run("generate", "--process", "--", "serve")
    assert ran.out.encode() == generate_process(["serve"])


def test_generate_replaces_an_old_policy_whole(writer: Writer) -> None:
    writer.file.write_bytes(b"before" * 10_000)
    assert writer.run("generate", *OPTIONS, "-o", "policy.rego", "--", *COMMAND).status == 0
    assert writer.file.read_bytes() == TEXT
    assert [path.name for path in writer.folder.iterdir()] == ["policy.rego"]


def test_a_full_disk_leaves_the_old_policy(writer: Writer) -> None:
    with cramped(writer.folder / "disk", 64) as disk:
        (disk / "policy.rego").write_bytes(b"before")
        words = [str(n) * 1000 for n in range(100)]
        arguments = ("generate", "--process", "-o", "disk/policy.rego", "--", *words)
        writer.refused(10, arguments, "policy.rego: cannot be written: ", "hint: ")
        assert [path.name for path in disk.iterdir()] == ["policy.rego"]
        assert (disk / "policy.rego").read_bytes() == b"before"


USAGE: dict[str, tuple[str, ...]] = {
    "nothing": ("generate",),
    "not for a process": ("generate", "--", "serve"),
    "no command": ("generate", "--process"),
    "nothing behind the dashes": ("generate", "--process", "--"),
    "a folder to write to": ("generate", "--process", "-o", ".", "--", "serve"),
    "hash of nothing": ("hash",),
    "hash of a folder": ("hash", "."),
    "hash of two": ("hash", "a", "b"),
    "explanation of nothing": ("explain",),
    "another verb": ("enforce",),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage(writer: Writer, name: str) -> None:
    writer.refused(2, USAGE[name], "Usage: sealserve policy", "Error: ")


BAD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a rule without a value": (
        ("--env-rule", "LANG", "--", "serve"),
        ("sealserve: --env-rule: ", "LANG"),
    ),
    "a pattern RE2 refuses": (
        ("--env-rule", "re2:A=(?=x)", "--", "serve"),
        ("sealserve: --env-rule: ", "RE2 refuses", "hint: "),
    ),
    "a rule twice": (
        ("--env-rule", "A=1", "--env-rule", "A=1", "--", "serve"),
        ("sealserve: --env-rule: ", "given twice"),
    ),
    "a relative folder": (("--workdir", "srv", "--", "serve"), ("sealserve: --workdir: ", "srv")),
    "an empty program": (("--", ""), ("sealserve: CMD: ", "empty")),
    "a word outside UTF-8": (("--", "serve", "\udcff"), ("sealserve: CMD: ", "not UTF-8")),
    "too many words": (("--", *["x" * 1000] * 2000), ("a policy of ",)),
    "a folder that is not there": (
        ("-o", "nowhere/policy.rego", "--", "serve"),
        ("nowhere/policy.rego: cannot be written",),
    ),
    "a folder that is a file": (
        ("-o", "/etc/hostname/policy.rego", "--", "serve"),
        ("/etc/hostname/policy.rego: cannot be written: Not a directory",),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_could_never_start_is_not_written(writer: Writer, name: str) -> None:
    arguments, words = BAD[name]
    given = arguments if "-o" in arguments else ("-o", "policy.rego", *arguments)
    writer.refused(8, ("generate", "--process", *given), "sealserve: ", *words)
    assert list(writer.folder.iterdir()) == []


# ---- hash


def test_hash(writer: Writer) -> None:
    writer.file.write_bytes(TEXT)
    ran = writer.run("hash", "policy.rego")
    assert (ran.status, ran.out, ran.err) == (0, f"{SHA256}\n", "")
    told = writer.run("hash", "policy.rego", "--json").json
    assert told == {
        "file": "policy.rego",
        "sha256": SHA256,
        "form": "text",
        "group": "",
        "known_as": "",
        "allows_everything": False,
        "warnings": [],
    }


@pytest.mark.parametrize("data", [b"", b"\xff\0", b"x" * 100_000], ids=["empty", "bytes", "long"])
def test_hash_takes_any_bytes(writer: Writer, data: bytes) -> None:
    """Whoever wrote the policy, HOST_DATA is the hash of its bytes."""
    writer.file.write_bytes(data)
    assert writer.run("hash", "policy.rego").out.strip() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("verb", ["hash", "explain"])
def test_a_file_that_cannot_be_read(writer: Writer, verb: str) -> None:
    writer.refused(8, (verb, "policy.rego"), "policy.rego: cannot be read: No such file")
    with writer.file.open("wb") as file:
        file.truncate(64 * 2**20)
    writer.refused(8, (verb, "policy.rego"), "policy.rego: is longer than ")


# ---- explain


def test_explain(writer: Writer) -> None:
    writer.file.write_bytes(TEXT)
    ran = writer.run("explain", "policy.rego")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"policy {SHA256}",
        "  versions  API 0.10.0, framework 0.2.3",
        "  allows    the host may list processes and read statistics",
        "  allows    the guest may drop variables that have no rule",
        "  allows    the guest may drop capabilities that are too many",
        "containers[0] (process)",
        "  runs      sealserve serve 'a b.sealed' --root 9f",
        "  in        /srv",
        "  as        anybody of any group, umask 0022",
        "  with      exactly LANG=C.UTF-8, which may be set",
        "  with      matching ^HOSTNAME=.+$, which may be set",
        "  and with no other variable",
        "  signals   9, 15",
        "  powers    the default capabilities",
        "  prints    what it prints leaves the guest",
        "DOUBT     containers[0] (process).env_rules[1]: re2:^HOSTNAME=.+$ lets the host choose "
        "HOSTNAME freely",
        "NOTE      allow_properties_access: the host lists processes and reads statistics",
        "NOTE      containers[0] (process).allow_stdio_access: the host reads what the container "
        "prints",
    ]


def test_explain_without_variables(writer: Writer) -> None:
    writer.file.write_bytes(generate_process(["serve"]))
    assert "  and with no other variable at all\n" in writer.run("explain", "policy.rego").out


def test_explain_to_programs(writer: Writer) -> None:
    writer.file.write_bytes(generate_process(["serve"], env_rules=["LD_PRELOAD=/x.so"]))
    told = writer.run("explain", "policy.rego", "--json").json
    (container,) = told["containers"]
    assert container["command"] == ["serve"]
    assert container["working_dir"] == "/"
    assert container["env_rules"] == [
        {"pattern": "LD_PRELOAD=/x.so", "required": False, "strategy": "string"}
    ]
    assert container["signals"] == [9, 15]  # as the guest fills it in
    assert [risk["rank"] for risk in told["risks"]] == ["doubt", "note", "note"]


def test_explain_names_risks_the_worst_first(writer: Writer) -> None:
    rules = ["LANG=C", "re2:LD_[A-Z]+=.*"]
    writer.file.write_bytes(generate_process(["serve"], env_rules=rules))
    told = writer.run("explain", "policy.rego").out
    first = next(line for line in told.splitlines() if line[:1].isupper())
    assert first.startswith(
        "CRITICAL  containers[0] (process).env_rules[1]: re2:^LD_[A-Z]+=.*$ lets"
    )


def test_what_a_policy_says_cannot_move_a_cursor(writer: Writer) -> None:
    """A policy comes from somebody else, and is explained on a terminal."""
    evil = "\x1b[2J\r\x07\u202e\n  runs    true"
    writer.file.write_bytes(
        generate_process(["serve", evil], env_rules=[f"A={evil}"], working_dir=f"/{evil}")
    )
    told = writer.run("explain", "policy.rego").out
    assert len(told.splitlines()) < 20
    assert all(line.isprintable() for line in told.splitlines())
    assert r"\x1b[2J\r\x07\u202e\n  runs    true" in told


OTHERS = {
    "an empty file": b"",
    "words": b"hello",
    "bytes": b"\xff\xfe",
    "a comma too many": TEXT.replace(b'"re2"', b'"re2",,'),
    "a fragment": TEXT.replace(b"package policy", b"package other"),
    "rules of its own": TEXT + b"\nmount_device { true }",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_policy_is_not_explained(writer: Writer, name: str) -> None:
    writer.file.write_bytes(OTHERS[name])
    writer.refused(8, ("explain", "policy.rego"), "sealserve: policy.rego")


# ---- all three


def test_what_was_generated_is_what_the_machine_holds(writer: Writer) -> None:
    """The story of an owner: write, hash, explain, and compare with HOST_DATA."""
    command = [sys.executable, "-P", "-m", "sealserve", "policy"]
    piped = subprocess.run(
        [*command, "generate", *OPTIONS, "--", *COMMAND], capture_output=True, check=True
    )
    writer.file.write_bytes(piped.stdout)
    hashed = writer.run("hash", "policy.rego").out.strip()
    explained = writer.run("explain", "policy.rego", "--json").json
    assert hashed == explained["sha256"] == ExecutionPolicy.parse(piped.stdout).sha256.hex()
    kept = ExecutionPolicy.parse(piped.stdout).may_start(COMMAND, {"HOSTNAME": "a"}, "/srv")
    assert kept == {"HOSTNAME": "a"}


def test_help(writer: Writer) -> None:
    for verb in ("generate", "hash", "explain", "diff", "lint", "simulate"):
        told = writer.run(verb, "--help").out
        assert f"Example: sealserve policy {verb}" in told
        assert "--json" in told
        assert "-- sealserve" not in told  # it would start from /, where no such command is
