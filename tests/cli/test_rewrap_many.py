"""`sealserve rewrap FILE…`: every file is tried, and what became of each is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.models_cli import FACTS, Desk, Ran

NAMES = ("one.sealed", "two.sealed", "three.sealed")


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk(tmp_path, capsys)
    for name in NAMES:
        made.seal(out=name)
    return made


def rewrap(desk: Desk, *options: str, files: tuple[str, ...] = NAMES) -> Ran:
    given = () if "--identity" in options else ("--identity", "me.key")
    return desk.run("rewrap", *files, *given, "--key", "hpke:you.key.pub", *options)


def damage(desk: Desk, name: str) -> bytes:
    path = desk.folder / name
    data = bytearray(path.read_bytes())
    data[777_777] ^= 1
    path.write_bytes(data)
    return bytes(data)


def test_all_of_them(desk: Desk) -> None:
    ran = rewrap(desk, "--keep", "--json")
    assert ran.status == 0
    assert ran.json["failed"] == 0
    assert [each["path"] for each in ran.json["files"]] == list(NAMES)
    for each in ran.json["files"]:
        assert each.keys() == FACTS | {"error", "exit"}
        assert len(each["slots"]) == 2
        assert (each["error"], each["exit"]) == (None, 0)
    for name in NAMES:
        opened = desk.run("unseal", name, "-o", f"{name}.d", "--identity", "you.key")
        assert opened.status == 0


def test_what_people_hear(desk: Desk) -> None:
    roots = [desk.run("inspect", name, "--json").json["root"] for name in NAMES]
    ran = rewrap(desk)
    assert ran.out.splitlines() == [
        *(f"rewrapped  {name}  {root}  1 slot" for name, root in zip(NAMES, roots, strict=True)),
        "3 of 3 files rewrapped",
    ]
    for name in NAMES:
        assert f"removed from {name}" in ran.err
        assert f"me.key itself no longer opens {name}" in ran.err
    assert ran.err.count("hint: `rewrap --keep") == 1
    assert ran.err.count("rewrapping is not revoking") == 1


def test_one_that_fails_keeps_nobody_from_the_rest(desk: Desk) -> None:
    damaged = damage(desk, "two.sealed")
    ran = rewrap(desk, "--keep", "--json", files=(*NAMES, "none.sealed"))
    assert ran.status == 4  # of the first that failed
    assert ran.json["failed"] == 2
    assert [each["exit"] for each in ran.json["files"]] == [0, 4, 0, 8]
    failed = ran.json["files"][1]
    assert failed.keys() == {"path", "error", "exit"}
    assert failed["error"]
    assert (desk.folder / "two.sealed").read_bytes() == damaged
    assert not list(desk.folder.glob(".*"))
    told = rewrap(desk, "--keep")
    assert told.status == 4
    assert [line.split()[0] for line in told.out.splitlines()] == [
        "rewrapped",
        "FAILED",
        "rewrapped",
        "2",
    ]


def test_nobody_has_a_slot(desk: Desk) -> None:
    ran = rewrap(desk, "--identity", "you.key", "--json")
    assert ran.status == 7
    assert ran.json["failed"] == 3


def test_one_result_is_of_one_file(desk: Desk) -> None:
    ran = rewrap(desk, "-o", "out.sealed")
    assert (ran.status, ran.out) == (2, "")
    assert "-o is for one FILE" in ran.err


def test_progress_says_which(desk: Desk) -> None:
    to_you = ("--identity", "me.key", "--key", "hpke:you.key.pub")
    status, seen = desk.at_a_terminal("rewrap", *NAMES, *to_you)
    assert status == 0
    assert "rewrapping 2 of 3" in seen
