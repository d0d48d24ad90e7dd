"""A master key behind a passphrase: with both it opens, with one thing changed it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.cli.passphrase import chosen_passphrase, folder_of
from sealserve.keys.trustd import passphrase
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.setup import Wanted, init
from sealserve.keys.trustd.state import State
from sealserve.native.errors import ConfigError, IntegrityError

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
