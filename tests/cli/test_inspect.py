"""`sealserve inspect`: a file's own words, and that they are called so."""

from __future__ import annotations

import pytest

from support.models_cli import FACTS, Desk, help_of


@pytest.fixture
def desk(tmp_path, capsys):
    desk = Desk(tmp_path, capsys)
    desk.seal()
    return desk


def test_says_what_the_file_says_and_that_nothing_is_proven(desk):
    ran = desk.run("inspect", "net.sealed")
    assert ran.status == 0
    assert "net, version 1.0" in ran.out
    assert f"hpke {desk.me.recipient.id} (MLKEM768-X25519)" in ran.out
    assert ran.err.startswith("hint: these are the file's own words")


def test_json_has_the_facts_and_nothing_else_is_said(desk):
    ran = desk.run("inspect", "net.sealed", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert set(ran.json) == FACTS
    assert ran.json["path"] == "net.sealed"
    assert ran.json["hash_offset"] % 4096 == 0
    assert (ran.json["payload_offset"] + 56) % 4096 == 0


def test_says_whether_requests_may_share_a_run(desk):
    assert "every request runs by itself" in desk.run("inspect", "net.sealed").out
    desk.seal("--batch-independent")
    assert "requests may share a run" in desk.run("inspect", "net.sealed").out


def test_a_raw_key_leaves_no_slot(desk):
    options = ("--key", "raw:raw.key", "--name", "n", "--version", "1")
    desk.run("seal", "net.onnx", "-o", "raw.sealed", *options)
    ran = desk.run("inspect", "raw.sealed")
    assert "the holder of its raw key" in ran.out


def test_a_url_is_shown_without_its_secrets(desk):
    ran = desk.run("inspect", f"file://{desk.folder}/net.sealed", "--json")
    assert ran.json["path"] == f"file://{desk.folder}/net.sealed"


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("net.onnx", 3, "net.onnx: this is not a sealed model file"),
        ("none", 8, "cannot read none: No such file or directory"),
        (".", 8, "not a regular file"),
    ],
)
def test_what_it_cannot_read(name, status, says, desk):
    ran = desk.run("inspect", name)
    assert (ran.status, ran.out) == (status, "")
    assert says in ran.err


def test_a_cut_file(desk):
    data = (desk.folder / "net.sealed").read_bytes()
    (desk.folder / "net.sealed").write_bytes(data[:-5000])
    ran = desk.run("inspect", "net.sealed")
    assert ran.status == 4
    assert "net.sealed: the file is cut: it has" in ran.err
    assert "hint: copy or download it again" in ran.err


def test_help_has_an_example(desk):
    text = help_of(desk, "inspect")
    assert "Example: sealserve inspect net.sealed --json" in text
    assert "Nothing here is proven" in text
