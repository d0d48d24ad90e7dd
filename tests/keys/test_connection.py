"""connection.toml: read strictly, and its token shown to nobody."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.keys.connection import Connection, default_path
from sealserve.native.errors import ConfigError
from support.keys_tls import Ca

CA = Ca()
TOKEN = "s3cret-token-of-the-owner"
GOOD = Connection("127.0.0.1:8443", "simulated", TOKEN, CA.pem.decode())


def load(folder, text):
    path = folder / "connection.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Connection.load(path)


@pytest.mark.parametrize("platform", ["simulated", "real"])
def test_what_is_written_is_read_back(platform, tmp_path):
    given_ = replace(GOOD, platform=platform)
    seen = load(tmp_path, given_.to_toml())
    assert replace(seen, ca=seen.ca.strip()) == replace(given_, ca=given_.ca.strip())
    assert seen.authority().sha256 == CA.sha256


def test_the_address_gets_its_one_spelling(tmp_path):
    assert load(tmp_path, replace(GOOD, address="VAULT.example:443").to_toml()).address == (
        "vault.example"
    )


def test_the_token_is_not_printed():
    assert TOKEN not in repr(GOOD)
    assert TOKEN not in str(GOOD)


def edited(old, new):
    text = GOOD.to_toml()
    assert old in text
    return text.replace(old, new)


REFUSED = {
    "an unknown key": (GOOD.to_toml() + "extra = 1\n", "extra"),
    "a table": (GOOD.to_toml() + "[tls]\nverify = false\n", "tls"),
    "no version": (edited("version = 1\n", ""), "version"),
    "no address": (edited('address = "127.0.0.1:8443"\n', ""), "address"),
    "no platform": (edited('platform = "simulated"\n', ""), "platform"),
    "no token": (edited(f'token = "{TOKEN}"\n', ""), "token"),
    "another version": (edited("version = 1", "version = 2"), "version"),
    "a version that is true": (edited("version = 1", "version = true"), "version"),
    "a version that is text": (edited("version = 1", 'version = "1"'), "version"),
    "another platform": (edited('"simulated"', '"snp"'), "platform"),
    "an empty platform": (edited('"simulated"', '""'), "platform"),
    "an empty token": (edited(TOKEN, ""), "token"),
    "a token that is a number": (edited(f'"{TOKEN}"', "7"), "token"),
    "an address that is a list": (edited('"127.0.0.1:8443"', '["127.0.0.1:8443"]'), "address"),
    "an address with a user": (edited("127.0.0.1:8443", "u@127.0.0.1:8443"), "address"),
    "an address with a scheme": (edited("127.0.0.1:8443", "https://127.0.0.1:8443"), "address"),
    "a CA that is none": (replace(GOOD, ca="hello").to_toml(), "ca"),
    "two CAs": (replace(GOOD, ca=(CA.pem * 2).decode()).to_toml(), "ca"),
    "a key twice": (GOOD.to_toml() + "version = 1\n", ""),
    "not TOML": ("version 1", ""),
    "not UTF-8": (b"\xff" + GOOD.to_toml().encode(), ""),
    "empty": ("", "address"),
    "a megabyte": (GOOD.to_toml() + "#" * 2**20, ""),
}


@pytest.mark.parametrize(("text", "key"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_file_and_key(text, key, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert caught.value.file == str(tmp_path / "connection.toml")
    assert caught.value.key == key
    assert TOKEN not in str(caught.value)


def test_a_file_that_is_not_there_says_who_writes_it(tmp_path):
    with pytest.raises(ConfigError, match="trustd init"):
        Connection.load(tmp_path / "none.toml")


def test_the_default_place_is_the_persons_own(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".config" / "sealserve" / "connection.toml"


@given(st.text(max_size=60), st.sampled_from(["version", "address", "platform", "token", "ca"]))
def test_any_text_is_read_or_refused(tmp_path_factory, text, name):
    folder = tmp_path_factory.getbasetemp()
    for content in (text.encode("utf-8", "replace"), f"{name} = {text}".encode(errors="replace")):
        with suppress(ConfigError):
            load(folder, content)
