"""`sealserve verify FILE --root HEX`: the file with this root, or exit code 4."""

from __future__ import annotations

import os

import pytest

from support.models_cli import FACTS, Desk, help_of


@pytest.fixture
def desk(tmp_path, capsys):
    return Desk(tmp_path, capsys)


@pytest.fixture
def root(desk):
    return desk.seal("--json").json["root"]


def test_says_that_it_is_the_one(desk, root):
    ran = desk.run("verify", "net.sealed", "--root", root)
    assert (ran.status, ran.out, ran.err) == (0, f"net.sealed is {root}\n", "")


def test_json_has_the_facts(desk, root):
    ran = desk.run("verify", "net.sealed", "--root", root, "--json")
    assert ran.status == 0
    assert set(ran.json) == FACTS
    assert ran.json["root"] == root


def test_capital_digits_are_digits(desk, root):
    assert desk.run("verify", "net.sealed", "--root", root.upper()).status == 0


def test_another_root_shows_both(desk, root):
    ran = desk.run("verify", "net.sealed", "--root", "11" * 32)
    assert (ran.status, ran.out) == (4, "")
    assert f"net.sealed: root is {root}; wanted {'11' * 32}" in ran.err
    assert "hint: another model, or an altered file" in ran.err


OTHERS = {
    "empty": b"",
    "a text": b"hello",
    "zeros": bytes(100_000),
    "noise": os.urandom(100_000),
    "a header of 1 GiB": b"sealserve/model\n"
    + (1).to_bytes(4, "little")
    + b"\0\0\0\x40"
    + b"x" * 99,
    "another format version": b"sealserve/model\n" + (2).to_bytes(4, "little") + bytes(100),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_any_other_file_exits_4_readable_or_not(data, desk, root):
    (desk.folder / "other").write_bytes(data)
    ran = desk.run("verify", "other", "--root", root)
    assert (ran.status, ran.out) == (4, "")
    assert f"sealserve: not the sealed model {root}: other: " in ran.err
    assert "\nhint: " in ran.err


def test_the_model_itself_is_not_the_sealed_one(desk, root):
    ran = desk.run("verify", "net.onnx", "--root", root)
    assert ran.status == 4
    assert "net.onnx: this is not a sealed model file" in ran.err
    assert "b'" not in ran.err


def test_one_changed_bit_is_found(desk, root):
    path = desk.folder / "net.sealed"
    data = bytearray(path.read_bytes())
    data[777_777] ^= 1
    path.write_bytes(data)
    ran = desk.run("verify", "net.sealed", "--root", root)
    assert ran.status == 4
    assert f"net.sealed: block {777_777 // 4096} is not the one in the hash tree" in ran.err


@pytest.mark.parametrize(
    "text", ["", "12", "zz" * 32, "11" * 31, "11" * 33, " " + "1" * 63, "\uff11" * 64]
)
def test_a_root_that_is_none_is_the_callers_mistake(text, desk, root):
    ran = desk.run("verify", "net.sealed", "--root", text)
    assert ran.status == 8
    assert "a root has 64 hexadecimal digits" in ran.err


def test_a_root_has_to_come_from_outside(desk, root):
    ran = desk.run("verify", "net.sealed")
    assert ran.status == 2
    assert "--root" in ran.err


def test_progress_is_for_terminals(desk, root):
    status, seen = desk.at_a_terminal("verify", "net.sealed", "--root", root)
    assert status == 0
    assert "verifying" in seen


def test_help_has_an_example(desk):
    text = help_of(desk, "verify")
    assert "Example: sealserve verify net.sealed --root 9f2c…" in text
    assert "exits 4" in text
