"""`sealserve rewrap`: other recipients, the same root."""

from __future__ import annotations

import pytest

from support.models_cli import FACTS, Desk, help_of


@pytest.fixture
def desk(tmp_path, capsys):
    return Desk(tmp_path, capsys)


@pytest.fixture
def root(desk):
    return desk.seal("--json").json["root"]


def test_the_root_stays_and_the_recipients_change(desk, root):
    ran = desk.run(
        "rewrap", "net.sealed", "--identity", "me.key", "--key", "hpke:you.key.pub", "--json"
    )
    assert ran.status == 0
    assert "rewrapping is not revoking" in ran.err
    assert set(ran.json) == FACTS
    assert ran.json["root"] == root
    assert [slot["recipient"] for slot in ran.json["slots"]] == [desk.you.recipient.id]
    assert desk.run("verify", "net.sealed", "--root", root).status == 0
    assert desk.run("unseal", "net.sealed", "-o", "you", "--identity", "you.key").status == 0
    assert desk.run("unseal", "net.sealed", "-o", "me", "--identity", "me.key").status == 7


def test_says_who_loses_his_slot(desk, root):
    ran = desk.run("rewrap", "net.sealed", "--identity", "me.key", "--key", "hpke:you.key.pub")
    assert ran.status == 0
    assert f"slot of hpke {desk.me.recipient.id} removed" in ran.err
    assert "warning: me.key itself no longer opens net.sealed" in ran.err
    assert "--keep --key hpke:YOU.pub" in ran.err


def test_says_who_else_loses_his_slot(desk):
    desk.seal("--key", "hpke:you.key.pub")
    ran = desk.run("rewrap", "net.sealed", "--identity", "me.key", "--key", "hpke:me.key.pub")
    assert ran.status == 0
    assert f"slot of hpke {desk.you.recipient.id} removed" in ran.err
    assert desk.me.recipient.id not in ran.err
    assert "no longer opens" not in ran.err


@pytest.mark.parametrize(
    "options",
    [("--keep", "--key", "hpke:you.key.pub"), ("--keep", "--key", "hpke:me.key.pub")],
    ids=["one more", "the same"],
)
def test_who_keeps_his_slot_is_not_named(options, desk, root):
    ran = desk.run("rewrap", "net.sealed", "--identity", "me.key", *options)
    assert ran.status == 0
    assert "removed" not in ran.err
    assert "no longer opens" not in ran.err


def test_whoever_has_no_slot_hears_how_to_get_one(desk, root):
    ran = desk.run("unseal", "net.sealed", "-o", "out", "--identity", "you.key")
    assert ran.status == 7
    assert "rewrap --keep --key hpke:YOU.pub" in ran.err


def test_another_file_leaves_the_first(desk, root):
    before = (desk.folder / "net.sealed").read_bytes()
    keys = ("--key", "hpke:you.key.pub", "--key", "hpke:me.key.pub")
    ran = desk.run("rewrap", "net.sealed", "--identity", "me.key", *keys, "-o", "both.sealed")
    assert ran.status == 0
    assert (desk.folder / "net.sealed").read_bytes() == before
    for name in ("me", "you"):
        arguments = ("both.sealed", "-o", name, "--identity", f"{name}.key")
        assert desk.run("unseal", *arguments).status == 0


def test_another_file_may_be_an_older_one_of_this_model_alone(desk, root):
    desk.seal(out="older.sealed")
    (desk.folder / "text").write_text("a text")
    to_you = ("net.sealed", "--identity", "me.key", "--key", "hpke:you.key.pub", "-o")
    assert desk.run("rewrap", *to_you, "older.sealed").status == 0
    ran = desk.run("rewrap", *to_you, "text")
    assert (ran.status, ran.out) == (8, "")
    assert "text exists and is not replaced: " in ran.err
    assert (desk.folder / "text").read_text() == "a text"


def test_a_raw_key_opens_and_gets_no_slot(desk):
    options = ("--key", "raw:raw.key", "--name", "n", "--version", "1")
    desk.run("seal", "net.onnx", "-o", "raw.sealed", *options)
    given = ("--from", "raw:raw.key")
    assert desk.run("rewrap", "raw.sealed", *given, "--key", "hpke:me.key.pub").status == 0
    assert desk.run("unseal", "raw.sealed", "-o", "out", "--identity", "me.key").status == 0
    ran = desk.run("rewrap", "raw.sealed", *given, "--key", "raw:raw.key")
    assert ran.status == 8
    assert "no raw key: none has a slot" in ran.err


REFUSED = {
    "somebody else": (("--identity", "you.key", "--key", "hpke:you.key.pub"), 7),
    "a wrong raw key": (("--from", "raw:raw.key", "--key", "hpke:you.key.pub"), 4),
    "nobody": (("--key", "hpke:you.key.pub"), 2),
    "for nobody": (("--identity", "me.key"), 2),
    "twice": (("--identity", "me.key", "--key", "hpke:me.key.pub", "--key", "hpke:me.key.pub"), 8),
    "a recipient that is no file": (("--identity", "me.key", "--key", "hpke:none"), 8),
}


@pytest.mark.parametrize(("options", "status"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_leaves_the_file_as_it_was(options, status, desk, root):
    before, files = (desk.folder / "net.sealed").read_bytes(), desk.files
    ran = desk.run("rewrap", "net.sealed", *options)
    assert (ran.status, ran.out) == (status, "")
    assert "Traceback" not in ran.err
    assert (desk.folder / "net.sealed").read_bytes() == before
    assert desk.files == files


def test_an_altered_file_is_not_passed_on(desk, root):
    path = desk.folder / "net.sealed"
    data = bytearray(path.read_bytes())
    data[777_777] ^= 1
    path.write_bytes(data)
    ran = desk.run("rewrap", "net.sealed", "--identity", "me.key", "--key", "hpke:you.key.pub")
    assert ran.status == 4
    assert path.read_bytes() == data


def test_progress_is_for_terminals(desk, root):
    arguments = ("net.sealed", "--identity", "me.key", "--key", "hpke:you.key.pub")
    status, seen = desk.at_a_terminal("rewrap", *arguments)
    assert status == 0
    assert "rewrapping" in seen


def test_help_has_an_example(desk):
    text = help_of(desk, "rewrap")
    assert "Example: sealserve rewrap net.sealed --key hpke:you.pub" in text
