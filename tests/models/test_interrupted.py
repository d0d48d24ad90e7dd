"""Full disks, cancelled and killed programs: no half of a file, no plaintext, no way blocked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from sealserve.cli.main import run
from sealserve.keys import new_identity
from sealserve.models import RawKey, draft, inspect, rewrap, seal, unseal
from sealserve.models.draft import Draft
from sealserve.native.errors import UnavailableError
from support.models_cramped import cramped
from support.models_onnx import classifier, random_array, small
from support.models_sealed import KEY, seal_model

OPTIONS = {"keys": [RawKey(KEY)], "name": "net", "version": "1"}
WEIGHTS = random_array(1, 512, 512).tobytes()
ROOM = 700  # KiB; the classifier takes 1.1 MiB


@pytest.fixture(params=["nameless", "named"])
def way(request, monkeypatch):
    """Both ways of writing a draft: with O_TMPFILE, and where that cannot be had."""
    if request.param == "named":
        monkeypatch.setattr(draft, "_create_nameless", lambda folder: None)


@pytest.fixture
def source(tmp_path):
    onnx.save(classifier(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


class Interrupted(BaseException):
    """Stands for Ctrl-C and whatever else may come from outside."""


def interrupt_at(part: float):
    """A progress callback that interrupts at this part of the work."""

    def progress(done: int, total: int) -> None:
        if done >= part * total:
            raise Interrupted

    return progress


def key_file(tmp_path: Path) -> str:
    (tmp_path / "raw.key").write_bytes(KEY)
    return f"raw:{tmp_path / 'raw.key'}"


@pytest.mark.usefixtures("way")
def test_sealing_onto_a_full_disk_leaves_nothing(source, tmp_path, capsys):
    with cramped(tmp_path / "disk", ROOM) as disk:
        with pytest.raises(
            UnavailableError, match=r"cannot write .*net.sealed: .* after \d+ bytes"
        ):
            seal(source, disk / "net.sealed", **OPTIONS)
        assert list(disk.iterdir()) == []
        out, key = str(disk / "net.sealed"), key_file(tmp_path)
        arguments = [str(source), "-o", out, "--key", key, "--name", "n", "--version", "1"]
        assert run(["seal", *arguments]) == 10
        assert list(disk.iterdir()) == []
    err = capsys.readouterr().err
    assert "hint: nothing was left behind" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("way")
def test_sealing_onto_a_full_disk_leaves_what_was_there(source, tmp_path):
    with cramped(tmp_path / "disk", ROOM) as disk:
        seal_model(small(), disk / "net.sealed", name=OPTIONS["name"])
        before = (disk / "net.sealed").read_bytes()
        with pytest.raises(UnavailableError):
            seal(source, disk / "net.sealed", **OPTIONS)
        assert (disk / "net.sealed").read_bytes() == before
        assert len(list(disk.iterdir())) == 1


@pytest.mark.usefixtures("way")
def test_rewrapping_onto_a_full_disk_leaves_nothing(tmp_path):
    me = new_identity(tmp_path / "me")
    seal_model(classifier(), tmp_path / "net.sealed", keys=[me.recipient])
    with cramped(tmp_path / "disk", ROOM) as disk:
        with pytest.raises(UnavailableError):
            rewrap(tmp_path / "net.sealed", me, [me.recipient], out=disk / "again.sealed")
        assert list(disk.iterdir()) == []


def test_unsealing_onto_a_full_disk_leaves_no_plaintext(tmp_path, capsys):
    seal_model(classifier(), tmp_path / "net.sealed")
    with cramped(tmp_path / "disk", ROOM) as disk:
        with pytest.raises(UnavailableError, match="cannot"):
            unseal(tmp_path / "net.sealed", disk / "out", RawKey(KEY))
        assert list(disk.iterdir()) == []
        arguments = [str(tmp_path / "net.sealed"), "-o", str(disk / "out")]
        assert run(["unseal", *arguments, "--key", key_file(tmp_path)]) == 10
        assert list(disk.iterdir()) == []
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 1.0])
def test_interrupted_sealing_leaves_nothing(part, source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Interrupted):
        seal(source, out / "net.sealed", **OPTIONS, progress=interrupt_at(part))
    assert list(out.iterdir()) == []


@pytest.mark.usefixtures("way")
def test_interrupted_rewrapping_leaves_the_file_as_it_was(tmp_path):
    me = new_identity(tmp_path / "me")
    out = tmp_path / "out"
    out.mkdir()
    seal_model(classifier(), out / "net.sealed", keys=[me.recipient])
    before = (out / "net.sealed").read_bytes()
    with pytest.raises(Interrupted):
        rewrap(out / "net.sealed", me, [me.recipient], progress=interrupt_at(0.5))
    assert [path.name for path in out.iterdir()] == ["net.sealed"]
    assert (out / "net.sealed").read_bytes() == before


def test_interrupted_unsealing_leaves_no_plaintext(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    seal_model(classifier(), tmp_path / "net.sealed")
    with pytest.raises(Interrupted):
        unseal(tmp_path / "net.sealed", out / "net", RawKey(KEY), progress=interrupt_at(0))
    assert list(out.iterdir()) == []


# Seals argv[1] to argv[2]; says "half" in the middle of writing and then waits to be killed.
SEAL_AND_WAIT = """
import signal, sys
from sealserve.models import RawKey, draft, seal
if sys.argv[4] == "named":
    draft._create_nameless = lambda folder: None
def progress(done, total):
    if done >= total * 0.8:
        print("half", flush=True)
        signal.pause()
key = RawKey(bytes.fromhex(sys.argv[3]))
seal(sys.argv[1], sys.argv[2], keys=[key], name="net", version="1", progress=progress)
"""


@pytest.mark.parametrize("kind", ["nameless", "named"])
def test_killed_sealing_blocks_nobody(kind, source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-P", "-c", SEAL_AND_WAIT]
    arguments = [str(source), str(out / "net.sealed"), KEY.hex(), kind]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        child.send_signal(signal.SIGKILL)
    left = list(out.iterdir())
    assert len(left) == (kind == "named")
    assert all(path.name.endswith(".partial") for path in left)
    assert not any(WEIGHTS[:64] in path.read_bytes() for path in left)

    sealed = seal(source, out / "net.sealed", **OPTIONS)
    assert inspect(out / "net.sealed") == sealed
    assert sorted(out.iterdir()) == sorted([*left, out / "net.sealed"])


def test_interrupting_the_verb_says_so(source, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sealserve.models.seal", interrupted)
    arguments = [str(source), "-o", str(tmp_path / "out"), "--name", "n", "--version", "1"]
    assert run(["seal", *arguments, "--key", key_file(tmp_path)]) == 130
    assert capsys.readouterr().err.endswith("sealserve: interrupted\n")


def test_a_draft_is_invisible_until_it_is_published(tmp_path):
    target = tmp_path / "file"
    with Draft(target) as written:
        written.write(b"first ")
        assert list(tmp_path.iterdir()) == []
        written.write(b"second")
        written.publish()
        assert target.read_bytes() == b"first second"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("way")
def test_a_draft_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with Draft(tmp_path / "file") as written:
            written.publish()
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("way")
def test_a_draft_replaces_a_link_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "link").symlink_to("other")
    with Draft(tmp_path / "link") as written:
        written.write(b"new")
        written.publish()
    assert (tmp_path / "other").read_bytes() == b"other"
    assert (tmp_path / "link").read_bytes() == b"new"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.usefixtures("way")
def test_a_folder_in_the_way_at_the_last_moment_is_an_error(tmp_path):
    with Draft(tmp_path / "x") as written:
        (tmp_path / "x").mkdir()
        with pytest.raises(UnavailableError, match="cannot write"):
            written.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_draft_where_nothing_can_be_written(tmp_path):
    with pytest.raises(UnavailableError, match="No such file"):
        Draft(tmp_path / "none/file")


def test_what_stands_in_the_way_of_unseal_is_kept(tmp_path):
    seal_model(small(), tmp_path / "net.sealed")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "dangling").symlink_to("nothing")
    before = sorted(tmp_path.rglob("*"))
    for name in ("full", "file", "link", "dangling", "net.sealed", "none/out", "a" * 300):
        arguments = [str(tmp_path / "net.sealed"), "-o", str(tmp_path / name)]
        raw = tmp_path.with_name(f"{tmp_path.name}.key")
        raw.write_bytes(KEY)
        assert run(["unseal", *arguments, "--key", f"raw:{raw}"]) == 8, name
        raw.unlink()
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "full/file").read_text() == "mine"
