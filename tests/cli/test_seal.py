"""`sealserve seal`: what it prints, what it refuses, and that it never overwrites its input."""

from __future__ import annotations

import os
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.keys.connection import Connection
from support.models_cli import FACTS, Desk, help_of


@pytest.fixture
def desk(tmp_path, capsys):
    return Desk(tmp_path, capsys)


def test_prints_the_facts_for_people(desk):
    ran = desk.seal()
    assert ran.status == 0
    assert ran.err == ""
    for word in ("root", "key id", "net, version 1.0", "hash offset", desk.me.recipient.id):
        assert word in ran.out
    assert desk.files >= {"net.sealed"}


def test_prints_the_facts_for_programs(desk):
    ran = desk.seal("--json")
    assert ran.status == 0
    assert set(ran.json) == FACTS
    assert ran.json["slots"] == [
        {"kind": "hpke", "recipient": desk.me.recipient.id, "algorithm": "MLKEM768-X25519"}
    ]
    assert len(ran.json["root"]) == 64
    assert len(ran.json["key_id"]) == 16
    assert ran.json == desk.run("inspect", "net.sealed", "--json").json


def test_declares_batch_independence(desk):
    assert desk.seal("--json").json["batch_independent"] is False
    assert desk.seal("--json", "--batch-independent").json["batch_independent"] is True


def test_takes_several_keys(desk):
    ran = desk.seal("--key", "hpke:you.key.pub", "--key", "raw:raw.key", "--json")
    assert [slot["recipient"] for slot in ran.json["slots"]] == [
        desk.me.recipient.id,
        desk.you.recipient.id,
    ]
    assert "warning: a raw key is the model's key itself" in ran.err


def test_seals_a_folder(desk):
    folder = desk.folder / "model"
    folder.mkdir()
    (desk.folder / "net.onnx").rename(folder / "net.onnx")
    (folder / "labels.txt").write_text("yes")
    key = ("--key", "raw:raw.key", "--name", "n", "--version", "1")
    ran = desk.run("seal", "model", "-o", "net.sealed", *key)
    assert ran.status == 0
    assert "also sealed: labels.txt\n" in ran.err
    assert "net.onnx" not in ran.err
    assert desk.run("unseal", "net.sealed", "-o", "out", "--key", "raw:raw.key").status == 0
    assert (desk.folder / "out/labels.txt").read_text() == "yes"


def test_of_many_other_files_the_first_are_named(desk):
    folder = desk.folder / "model"
    (folder / "more").mkdir(parents=True)
    (desk.folder / "net.onnx").rename(folder / "net.onnx")
    for number in range(30):
        (folder / f"more/{number:02}.txt").write_text("yes")
    key = ("--key", "raw:raw.key", "--name", "n", "--version", "1")
    ran = desk.run("seal", "model", "-o", "net.sealed", *key)
    named = [line for line in ran.err.splitlines() if line.startswith("also sealed: ")]
    assert named[0] == "also sealed: more/00.txt"
    assert (len(named), named[-1]) == (21, "also sealed: 10 more files")


def pem(key, kind, encryption=None):
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, kind, encryption)


RSA = rsa.generate_private_key(65537, 2048)
PRIVATE = {
    "ours": lambda desk: (desk.folder / "me.key").read_bytes(),
    "PKCS #1": lambda desk: pem(RSA, serialization.PrivateFormat.TraditionalOpenSSL),
    "encrypted": lambda desk: pem(
        RSA, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    ),
    "OpenSSH": lambda desk: pem(RSA, serialization.PrivateFormat.OpenSSH),
    "behind a certificate": lambda desk: (
        b"-----BEGIN CERTIFICATE-----\n" + b"QUFB\n" * 4000 + b"-----END CERTIFICATE-----\n"
        + pem(RSA, serialization.PrivateFormat.PKCS8)
    ),
    "a way into a vault": lambda desk: Connection(
        "127.0.0.1:8443", "simulated", "secret", ""
    ).to_toml().encode(),
}  # fmt: skip


@pytest.mark.parametrize("make", PRIVATE.values(), ids=PRIVATE)
def test_a_private_key_in_the_folder_is_not_sealed(make, desk):
    """It would go to everybody who may open the model."""
    folder = desk.folder / "model"
    (folder / "more").mkdir(parents=True)
    (desk.folder / "net.onnx").rename(folder / "net.onnx")
    (folder / "more/a file").write_bytes(make(desk))
    key = ("--key", "raw:raw.key", "--name", "n", "--version", "1")
    ran = desk.run("seal", "model", "-o", "net.sealed", *key)
    assert (ran.status, ran.out) == (9, "")
    assert "more/a file" in ran.err
    assert "hint: " in ran.err
    assert "net.sealed" not in desk.files


def test_a_public_key_in_the_folder_is_sealed(desk):
    folder = desk.folder / "model"
    folder.mkdir()
    (desk.folder / "net.onnx").rename(folder / "net.onnx")
    (desk.folder / "me.key.pub").rename(folder / "me.key.pub")
    key = ("--key", "raw:raw.key", "--name", "n", "--version", "1")
    assert desk.run("seal", "model", "-o", "net.sealed", *key).status == 0


def test_never_overwrites_its_input(desk):
    before = (desk.folder / "net.onnx").read_bytes()
    ran = desk.seal(out="net.onnx")
    assert ran.status == 8
    assert "net.onnx is part of the model that is sealed" in ran.err
    assert "hint: choose another -o" in ran.err
    assert (desk.folder / "net.onnx").read_bytes() == before


def test_replaces_an_old_file_of_its_own(desk):
    first = desk.seal("--json").json
    second = desk.seal("--json").json
    assert first["root"] != second["root"]
    assert desk.run("verify", "net.sealed", "--root", second["root"]).status == 0


def other_name(desk):
    options = ("--key", "raw:raw.key", "--name", "other", "--version", "1")
    assert desk.run("seal", "net.onnx", "-o", "net.sealed", *options).status == 0


def cut(desk):
    desk.seal()
    path = desk.folder / "net.sealed"
    path.write_bytes(path.read_bytes()[:-5000])


def link_to_a_text(desk):
    (desk.folder / "text").write_text("a text")
    (desk.folder / "net.sealed").symlink_to("text")


NOT_REPLACED = {
    "a text": (lambda desk: (desk.folder / "net.sealed").write_text("a text"), "not a sealed"),
    "nothing in it": (lambda desk: (desk.folder / "net.sealed").touch(), "not a sealed"),
    "another model": (other_name, "it holds the model 'other'"),
    "a cut one": (cut, "the file is cut"),
    "a link to a text": (link_to_a_text, "not a sealed"),
    "a link to nothing": (lambda desk: (desk.folder / "net.sealed").symlink_to("x"), "No such"),
    "a FIFO": (lambda desk: os.mkfifo(desk.folder / "net.sealed"), "not a regular file"),
}


@pytest.mark.parametrize(("make", "words"), NOT_REPLACED.values(), ids=NOT_REPLACED)
def test_replaces_nothing_else(make, words, desk):
    make(desk)
    path = desk.folder / "net.sealed"
    before = path.lstat()
    ran = desk.seal()
    assert (ran.status, ran.out) == (8, "")
    assert "net.sealed exists and is not replaced: " in ran.err
    assert words in ran.err
    assert "hint: choose another -o, or remove it yourself" in ran.err
    after = path.lstat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


def test_the_file_is_readable_by_all_and_written_by_its_owner(desk):
    """It is ciphertext: meant to be copied and served."""
    desk.seal()
    mode = stat.S_IMODE((desk.folder / "net.sealed").stat().st_mode)
    assert mode & 0o600 == 0o600
    assert not mode & 0o111


KEYS = {
    "no such file": ("hpke:none.pub", 8, "`sealserve key new FILE` makes a pair"),
    "a private key as recipient": ("hpke:me.key", 8, "me.key.pub"),
    "a model as key": ("raw:net.onnx", 8, "wanted exactly 32"),
    "no such scheme": ("pgp:me", 8, "hpke:FILE"),
    "no scheme": ("me.key.pub", 8, "hpke:FILE"),
    "empty": ("", 8, "hpke:FILE"),
}


@pytest.mark.parametrize(("reference", "status", "words"), KEYS.values(), ids=KEYS)
def test_a_key_that_is_none(reference, status, words, desk):
    ran = desk.run(
        "seal", "net.onnx", "-o", "x", "--key", reference, "--name", "n", "--version", "1"
    )
    assert ran.status == status
    assert ran.out == ""
    assert "sealserve: " in ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert "x" not in desk.files


@pytest.mark.parametrize(("option", "value"), [("--name", "a b"), ("--version", "1/2")])
def test_a_name_that_no_header_holds_is_told_by_its_option(option, value, desk):
    ran = desk.seal(option, value)
    assert ran.status == 8
    assert ran.err.startswith(f"sealserve: {option}: {value!r}; wanted ")


def test_the_same_key_twice(desk):
    ran = desk.seal("--key", "hpke:me.key.pub")
    assert ran.status == 8
    assert "two key slots for one recipient" in ran.err
    assert "net.sealed" not in desk.files


@pytest.mark.parametrize("left_out", ["-o", "--key", "--name", "--version"])
def test_options_that_must_be_there(left_out, desk):
    options = {"-o": "x", "--key": "raw:raw.key", "--name": "n", "--version": "1"}
    del options[left_out]
    ran = desk.run("seal", "net.onnx", *(part for pair in options.items() for part in pair))
    assert ran.status == 2
    assert left_out in ran.err


def test_no_model(desk):
    (desk.folder / "net.onnx").unlink()
    ran = desk.seal()
    assert ran.status == 8
    assert "no model at net.onnx" in ran.err
    assert "hint: name an .onnx file" in ran.err


def test_not_a_model(desk):
    (desk.folder / "net.onnx").write_text("a text")
    ran = desk.seal()
    assert ran.status == 9
    assert "not an ONNX model" in ran.err
    assert "net.sealed" not in desk.files


def test_progress_is_for_terminals(desk):
    assert desk.seal().err == ""
    options = ("--key", "raw:raw.key", "--name", "n", "--version", "1")
    status, seen = desk.at_a_terminal("seal", "net.onnx", "-o", "t.sealed", *options)
    assert status == 0
    assert "sealing" in seen


def test_help_has_an_example_that_runs(desk):
    text = help_of(desk, "seal")
    assert "Example: sealserve seal net.onnx -o net.sealed --key hpke:me.pub" in text
    assert "azure:URL, trustd:HOST:PORT/NAME, hpke:FILE, raw:FILE" in text
