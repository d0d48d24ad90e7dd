"""A master key behind a passphrase: with both it opens, with one thing changed it does not."""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.cli.main import run
from sealserve.cli.passphrase import chosen_passphrase, folder_of
from sealserve.keys.trustd import offline, passphrase
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.setup import Wanted, init
from sealserve.keys.trustd.state import State
from sealserve.native.errors import ConfigError, IntegrityError, UnavailableError

KEY = bytes(range(32))
WORDS = b"four words nobody says"
SEALED = passphrase.seal(KEY, WORDS)


def opened(data: bytes, words: bytes = WORDS) -> bytes:
    return passphrase.open_sealed(data, words, "master.sealed")


def edited(**changes: Any) -> bytes:
    """The file with members of it, or of its cost, changed."""
    whole = json.loads(SEALED)
    for name, value in changes.items():
        (whole if name in whole else whole["argon2id"])[name] = value
    return json.dumps(whole).encode()


def test_with_both_it_opens_and_says_how() -> None:
    assert opened(SEALED) == KEY
    told = json.loads(SEALED)
    assert told["argon2id"].items() >= {"iterations": 3, "lanes": 4, "memory_kib": 65536}.items()
    assert told["version"] == 1
    assert passphrase.seal(KEY, WORDS) != SEALED


def test_another_passphrase_opens_nothing() -> None:
    for words in (WORDS[:-1], WORDS + b" ", b""):
        with pytest.raises(IntegrityError, match="another passphrase") as caught:
            opened(SEALED, words)
        assert words.decode() not in str(caught.value) or not words


NONCE = json.loads(SEALED)["nonce"]
BOUND = {
    "iterations": edited(iterations=2),
    "lanes": edited(lanes=2),
    "memory": edited(memory_kib=32768),
    "salt": edited(salt="A" * 22 + "=="),
    "nonce": edited(nonce="A" * 16),
    "no nonce": edited(nonce=""),
    "sealed": edited(sealed="A" * 64),
    "nothing sealed": edited(sealed=""),
}


@pytest.mark.parametrize("data", BOUND.values(), ids=BOUND)
def test_one_thing_changed_opens_nothing(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="does not open"):
        opened(data)


def test_the_parameters_are_bound_beside_what_they_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they would make the same key, the associated data alone refuses."""
    right = json.loads(SEALED)["argon2id"]
    key = passphrase.Cost(**right).key(WORDS)
    monkeypatch.setattr(passphrase.Cost, "key", lambda self, words: key)
    assert opened(SEALED) == KEY
    with pytest.raises(IntegrityError):
        opened(edited(iterations=2))


INSANE = {
    "no JSON": b"\0",
    "a list": b"[]",
    "a member more": edited()[:-1] + b', "more": 1}',
    "a member less": b'{"version": 1}',
    "another version": edited(version=2),
    "a cost in words": edited(iterations="3"),
    "no iterations": edited(iterations=0),
    "endless iterations": edited(iterations=17),
    "no lanes": edited(lanes=0),
    "too many lanes": edited(lanes=17),
    "all memory there is": edited(memory_kib=1024 * 1024 + 1),
    "memory for no lane": edited(memory_kib=31),
    "a short salt": edited(salt="AAAA"),
    "salt that is no base64": edited(salt="!" * 24),
    "a nonce that is no base64": edited(nonce="!"),
    "too long": SEALED + b" " * 4096,
}


@pytest.mark.parametrize("data", INSANE.values(), ids=INSANE)
def test_a_file_that_is_none_costs_nothing(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passphrase.Cost, "key", lambda self, words: pytest.fail("derived"))
    with pytest.raises(ConfigError, match=r"master.sealed.*is no master key behind a passphrase"):
        opened(data)


@given(st.binary(max_size=200))
def test_whatever_it_is_only_our_errors_leave(data: bytes) -> None:
    with pytest.raises(ConfigError):
        opened(data)


@pytest.mark.parametrize("words", [b"", b"elevenbytes", b"x" * 1025])
def test_a_passphrase_that_is_none(words: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"a passphrase of {len(words)} bytes"):
        passphrase.seal(KEY, words)
    with pytest.raises(ConfigError, match="wanted 12 to 1024"):
        init(tmp_path / "vault", wanted(words), datetime.now(UTC))
    assert list(tmp_path.iterdir()) == []


# ---- a service behind one


def wanted(words: bytes) -> Wanted:
    return Wanted("127.0.0.1:8443", platform="real", passphrase=words)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed") / "vault"
    init(folder, wanted(WORDS), datetime.now(UTC))
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(words: bytes, mode: int = 0o600) -> Path:
        (tmp_path / "words").write_bytes(words)
        (tmp_path / "words").chmod(mode)
        return tmp_path / "words"

    return write


def test_a_service_behind_a_passphrase(vault: Path, written: Callable[..., Path]) -> None:
    assert not (vault / "master.key").exists()
    assert WORDS not in b"".join(path.read_bytes() for path in vault.iterdir())
    assert "four" not in repr(wanted(WORDS))
    for line_end in (b"", b"\n", b"\r\n"):
        records = folder_of(vault, written(WORDS + line_end)).records()
        assert State.load(records).address == "127.0.0.1:8443"
        records.close()
    with pytest.raises(IntegrityError, match="another passphrase"):
        folder_of(vault, written(b"four words somebody says")).records()


def test_nobody_to_ask(
    vault: Path, monkeypatch: pytest.MonkeyPatch, written: Callable[..., Path]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="--passphrase-file"):
        folder_of(vault, None).records()
    with pytest.raises(ConfigError, match="--passphrase-file"):
        Folder(vault).records()
    assert chosen_passphrase(None, ask=False) is None
    for words, mode, told in (
        (WORDS, 0o640, "others may use it"),
        (WORDS + b"\nmore", 0o600, "more than one line"),
    ):
        with pytest.raises(ConfigError, match=told):
            folder_of(vault, written(words, mode)).records()


def test_a_terminal_is_asked(vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def prompt(text: str, **how: object) -> str:
        asked.append(how)
        return WORDS.decode()

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", prompt)
    folder_of(vault, None).records().close()
    assert chosen_passphrase(None, ask=True) == WORDS
    assert [how["confirmation_prompt"] for how in asked] == [False, True]
    assert all(how["hide_input"] and how["err"] for how in asked)


def test_two_master_keys_are_one_too_many(vault: Path, written: Callable[..., Path]) -> None:
    (vault / "master.key").write_bytes(KEY)
    try:
        with pytest.raises(ConfigError, match=r"stands beside master\.sealed"):
            folder_of(vault, written(WORDS)).records()
    finally:
        (vault / "master.key").unlink()


# ---- another one

OTHER = b"four words of tomorrow"


@pytest.fixture(params=[WORDS, None], ids=["behind one", "behind none"])
def changing(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A service whose passphrase is about to be changed, or is the first one."""
    path = tmp_path / "vault"
    given = Wanted("127.0.0.1:8443", platform="real", passphrase=request.param)
    init(path, given, datetime.now(UTC))
    return Folder(path, lambda: WORDS)


def holds(folder: Folder) -> bool:
    with closing(folder.records()) as records:
        return State.load(records).address == "127.0.0.1:8443"


def test_a_passphrase_is_changed(changing: Folder) -> None:
    before = changing.master_key_bytes()
    offline.put_behind(changing, OTHER)
    assert not changing.master_key.exists()
    assert stat.S_IMODE(changing.master_sealed.stat().st_mode) == 0o600
    after = Folder(changing.path, lambda: OTHER)
    assert (after.master_key_bytes(), holds(after)) == (before, True)
    with pytest.raises(IntegrityError, match="another passphrase"):
        changing.records()


def test_a_passphrase_that_is_none_changes_nothing(changing: Folder) -> None:
    before = sorted(path.name for path in changing.path.iterdir())
    with pytest.raises(ConfigError, match="wanted 12 to 1024"):
        offline.put_behind(changing, b"short")
    assert sorted(path.name for path in changing.path.iterdir()) == before
    assert holds(changing)


def test_the_key_of_another_service_is_not_put_there(changing: Folder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    init(other, Wanted("127.0.0.1:8444", platform="real"), datetime.now(UTC))
    changing.master_sealed.unlink(missing_ok=True)
    changing.master_key.unlink(missing_ok=True)
    (other / "master.key").rename(changing.master_key)
    with pytest.raises(IntegrityError, match="does not open"):
        offline.put_behind(changing, OTHER)
    assert not changing.master_sealed.exists()


def test_where_it_cannot_be_written_the_old_one_opens(
    changing: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", full)
        with pytest.raises(UnavailableError):
            offline.put_behind(changing, OTHER)
    assert holds(changing)
    assert not [path for path in changing.path.iterdir() if "partial" in path.name]


def test_an_interrupted_change_is_told(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "vault", lambda: OTHER)
    init(folder.path, Wanted("127.0.0.1:8443", platform="real"), datetime.now(UTC))
    key = folder.master_key.read_bytes()
    offline.put_behind(folder, OTHER)
    folder.master_key.write_bytes(key)  # a kill just before it was taken away
    with pytest.raises(ConfigError) as caught:
        folder.records()
    assert "master.key can go" in caught.value.hint
    folder.master_key.unlink()
    assert holds(folder)


def test_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: Callable[..., Path]
) -> None:
    init(tmp_path / "vault", wanted(WORDS), datetime.now(UTC))
    new = tmp_path / "new"
    new.write_bytes(OTHER + b"\n")
    new.chmod(0o600)
    options = ["--passphrase-file", str(written(WORDS)), "--new-passphrase-file", str(new)]
    status = run(["trustd", "passphrase", str(tmp_path / "vault"), *options, "--json"])
    said = capsys.readouterr()
    assert (status, json.loads(said.out)["file"][-13:]) == (0, "master.sealed")
    assert "every copy of the folder" in said.err
    assert holds(Folder(tmp_path / "vault", lambda: OTHER))
    assert run(["trustd", "passphrase", str(tmp_path / "vault"), *options]) == 4
