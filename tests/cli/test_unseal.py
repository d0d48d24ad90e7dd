"""`sealserve unseal`: a folder for those who may, and not a byte for those who may not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from support.models_cli import FACTS, Desk, help_of
from support.models_onnx import batch, predict, same_bits


@pytest.fixture
def desk(tmp_path, capsys):
    return Desk(tmp_path, capsys)


@pytest.fixture
def root(desk):
    return desk.seal("--json").json["root"]


def test_gives_back_a_model_that_predicts_the_same(desk, root):
    ran = desk.run("unseal", "net.sealed", "-o", "out", "--identity", "me.key", "--root", root)
    assert (ran.status, ran.err) == (0, "")
    assert "unsealed to  out" in ran.out
    assert {name for name in desk.files if name.startswith("out/")} == {
        "out/manifest.json",
        "out/model.onnx",
        "out/weights",
        "out/weights/00000",
        "out/weights/small",
    }
    ours, theirs = (predict(desk.folder / name, batch()) for name in ("net.onnx", "out/model.onnx"))
    assert same_bits(ours, theirs)


def test_json_has_the_facts_and_the_folder(desk, root):
    ran = desk.run("unseal", "net.sealed", "-o", "out", "--identity", "me.key", "--json")
    assert set(ran.json) == {*FACTS, "folder"}
    assert (ran.json["root"], ran.json["folder"]) == (root, "out")


def test_says_when_nothing_was_compared(desk, root):
    ran = desk.run("unseal", "net.sealed", "-o", "out", "--identity", "me.key")
    assert ran.status == 0
    assert "no --root given: the file is checked against itself" in ran.err


def test_another_root_is_refused(desk, root):
    ran = desk.run("unseal", "net.sealed", "-o", "out", "--identity", "me.key", "--root", "0" * 64)
    assert (ran.status, ran.out) == (4, "")
    assert f"root is {root}; wanted {'0' * 64}" in ran.err
    assert "out" not in desk.files


def test_somebody_without_a_slot_gets_nothing(desk, root):
    ran = desk.run("unseal", "net.sealed", "-o", "out", "--identity", "you.key")
    assert ran.status == 7
    assert f"no slot is addressed to hpke {desk.you.recipient.id}" in ran.err
    assert "hint: ask its owner to `sealserve rewrap --keep --key hpke:YOU.pub`" in ran.err
    assert "out" not in desk.files


def test_a_wrong_raw_key_gets_nothing(desk, root):
    ran = desk.run("unseal", "net.sealed", "-o", "out", "--key", "raw:raw.key")
    assert ran.status == 4
    assert "this key is" in ran.err
    assert "the file was sealed with" in ran.err
    assert "out" not in desk.files


OPENERS = {
    "none": ((), 2, "give --identity FILE or --key REF"),
    "both": (("--identity", "me.key", "--key", "raw:raw.key"), 2, "and not both"),
    "a public key": (("--identity", "me.key.pub"), 8, ""),
    "no such file": (("--identity", "none"), 8, "none"),
    "a recipient": (("--key", "hpke:me.key.pub"), 8, "cannot open a file here"),
    "a vault": (("--key", "azure:https://v.example/keys/a"), 8, "cannot open a file here"),
    "a short raw key": (("--key", "raw:net.onnx"), 8, "wanted exactly 32"),
}


@pytest.mark.parametrize(("options", "status", "says"), OPENERS.values(), ids=OPENERS)
def test_who_opens_has_to_be_clear(options, status, says, desk, root):
    ran = desk.run("unseal", "net.sealed", "-o", "out", *options)
    assert (ran.status, ran.out) == (status, "")
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert "out" not in desk.files


def test_never_overwrites(desk, root):
    before = (desk.folder / "net.sealed").read_bytes()
    for taken in ("net.sealed", "net.onnx", "."):
        ran = desk.run("unseal", "net.sealed", "-o", taken, "--identity", "me.key")
        assert ran.status == 8
        assert "exists and is not an empty folder" in ran.err
    assert (desk.folder / "net.sealed").read_bytes() == before


# Runs the verb; says "half" in the middle and waits.
UNSEAL_AND_WAIT = """
import sys, time
from contextlib import contextmanager
from sealserve.cli import main, unseal
@contextmanager
def progress(label):
    def wait(done, total):
        print("half", flush=True)
        while True:  # signal.pause() would miss a signal that came just before it
            time.sleep(0.05)
    yield wait
unseal.progress = progress
sys.exit(main.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_no_plaintext(number, desk, root):
    before = desk.files
    command = [sys.executable, "-P", "-c", UNSEAL_AND_WAIT, "unseal", "net.sealed", "-o", "out"]
    with subprocess.Popen(
        [*command, "--identity", "me.key"],
        cwd=desk.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        assert desk.files > before
        child.send_signal(number)
        _, err = child.communicate()
    assert child.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert desk.files == before


def test_progress_is_for_terminals(desk, root):
    status, seen = desk.at_a_terminal("unseal", "net.sealed", "-o", "out", "--identity", "me.key")
    assert status == 0
    assert "unsealing" in seen


def test_help_has_an_example(desk):
    text = help_of(desk, "unseal")
    assert "Example: sealserve unseal net.sealed -o net --identity me.key" in text
