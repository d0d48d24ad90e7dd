"""`sealserve rewrap --keep`: one more recipient, and nobody fewer."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.models_cli import Desk, help_of


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_one_more_recipient(desk: Desk) -> None:
    root = desk.seal("--json").json["root"]
    to_you = ("--identity", "me.key", "--key", "hpke:you.key.pub")
    ran = desk.run("rewrap", "net.sealed", *to_you, "--keep", "--json")
    assert ran.status == 0
    told = [slot["recipient"] for slot in ran.json["slots"]]
    assert told == [desk.me.recipient.id, desk.you.recipient.id]
    assert ran.json["root"] == root
    for name in ("me", "you"):
        unsealed = desk.run("unseal", "net.sealed", "-o", name, "--identity", f"{name}.key")
        assert unsealed.status == 0


def test_the_same_once_more(desk: Desk) -> None:
    desk.seal()
    again = ("--identity", "me.key", "--key", "hpke:me.key.pub", "--keep", "--json")
    ran = desk.run("rewrap", "net.sealed", *again)
    assert [slot["recipient"] for slot in ran.json["slots"]] == [desk.me.recipient.id]


def test_help_says_what_is_kept(desk: Desk) -> None:
    assert "Leave the slots of all others as they are." in help_of(desk, "rewrap")
