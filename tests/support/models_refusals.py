"""How a refusal has to look: the documented error, for programs and for people, and no traces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sealserve.cli.main import run
from sealserve.models import Opener, RawKey, open_model
from sealserve.native.errors import IntegrityError, SealserveError
from support.models_sealed import KEY, FolderPlace

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Refusal:
    """error: its class. says: what the message has to contain."""

    error: type[SealserveError]
    says: str


def assert_opening_refused(path: Path, root: bytes, opener: Opener, wanted: Refusal) -> None:
    """Nobody gets anything, and the place is as empty as before, in both ways of opening."""
    for ahead in (False, True):
        _assert_opening_refused(path, root, opener, wanted, ahead=ahead)


def _assert_opening_refused(
    path: Path, root: bytes, opener: Opener, wanted: Refusal, *, ahead: bool
) -> None:
    folder = path.with_name(f"{path.name}.place")
    folder.mkdir()
    place = FolderPlace(folder)
    with pytest.raises(SealserveError) as caught:
        open_model(path, root, opener, place, ahead=ahead)
    assert type(caught.value) is wanted.error, caught.value
    assert wanted.says in caught.value.message, caught.value.message
    assert "finish" not in place.told
    assert not list(folder.iterdir())
    folder.rmdir()


def assert_unseal_refused(path: Path, root: bytes, wanted: Refusal, capsys: Capture) -> None:
    """The verb says so in a few words, exits as documented and leaves nothing."""
    key = path.with_name("raw.key")
    key.write_bytes(KEY)
    before = {p.name for p in path.parent.iterdir()}
    out = path.with_name("out")
    arguments = ["unseal", str(path), "-o", str(out), "--key", f"raw:{key}"]
    status = run([*arguments, "--root", root.hex()])
    assert_words(capsys, wanted)
    assert status == wanted.error.exit_code
    assert {p.name for p in path.parent.iterdir()} == before


def assert_verify_refused(path: Path, root: bytes, capsys: Capture) -> None:
    """Whatever it is: it is not the file with this root."""
    assert run(["verify", str(path), "--root", root.hex()]) == IntegrityError.exit_code
    assert_words(capsys, Refusal(IntegrityError, ""))


def assert_words(capsys: Capture, wanted: Refusal) -> None:
    """One error and a hint on stderr, nothing on stdout, no trace of Python."""
    out, err = capsys.readouterr()
    assert out == ""
    assert "sealserve: " in err
    assert "\nhint: " in err, err
    assert "Traceback" not in err
    assert "unforeseen" not in err
    assert wanted.says in err


def raw_key() -> RawKey:
    return RawKey(KEY)
