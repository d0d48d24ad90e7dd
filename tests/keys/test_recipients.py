"""Key references: four forms, everything else refused before anything is asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.keys import HpkeRecipient, identity, new_identity, recipient
from sealserve.models import RawKey
from sealserve.native.errors import ConfigError


def test_hpke_names_a_public_key_file(tmp_path):
    made = new_identity(tmp_path / "me.key")
    named = recipient(f"hpke:{tmp_path / 'me.key.pub'}")
    assert isinstance(named, HpkeRecipient)
    assert named.id == made.recipient.id == identity(str(tmp_path / "me.key")).recipient.id


def test_raw_names_the_key_itself(tmp_path):
    (tmp_path / "raw.key").write_bytes(bytes(32))
    assert isinstance(recipient(f"raw:{tmp_path / 'raw.key'}"), RawKey)


def test_a_colon_in_a_file_name_is_no_trouble(tmp_path):
    (tmp_path / "a:b").write_bytes(bytes(32))
    assert isinstance(recipient(f"raw:{tmp_path / 'a:b'}"), RawKey)


UNREADABLE = {
    "nothing": "",
    "a word": "owner.key.pub",
    "a colon": ":",
    "no scheme": ":owner.key.pub",
    "nothing behind the scheme": "hpke:",
    "another scheme": "age:owner.key.pub",
    "a scheme in capitals": "HPKE:owner.key.pub",
    "a space in front": " hpke:owner.key.pub",
    "a URL": "https://vault.example/keys/k",
    "a URL of a file": "file:///owner.key.pub",
}


@pytest.mark.parametrize("reference", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_reference_is_refused_with_the_forms(reference):
    with pytest.raises(ConfigError) as caught:
        recipient(reference)
    for form in ("azure:https://HOST/keys/NAME", "trustd:HOST:PORT/NAME", "hpke:FILE", "raw:FILE"):
        assert form in str(caught.value)


MALFORMED = {
    "azure without https": "azure:vault.example/keys/k",
    "azure with http": "azure:http://vault.example/keys/k",
    "azure without a key": "azure:https://vault.example",
    "azure with a user": "azure:https://u@vault.example/keys/k",
    "azure with a query": "azure:https://vault.example/keys/k?x",
    "azure with a version that is none": "azure:https://vault.example/keys/k/latest",
    "trustd without a name": "trustd:vault.example:8443",
    "trustd with an empty name": "trustd:vault.example:8443/",
    "trustd with a path": "trustd:vault.example:8443/keys/k",
    "trustd with a version": f"trustd:vault.example:8443/k/{'0' * 32}",
    "trustd with a scheme": "trustd:https://vault.example:8443/k",
    "trustd with an underscore": "trustd:vault.example:8443/a_b",
    "hpke that is not there": "hpke:none.pub",
    "raw that is not there": "raw:none",
}


@pytest.mark.parametrize("reference", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_reference_is_refused(reference, tmp_path):
    with pytest.raises(ConfigError):
        recipient(reference, connection=tmp_path / "connection.toml")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_raw_key_of_another_length(size, tmp_path):
    (tmp_path / "raw.key").write_bytes(bytes(size))
    with pytest.raises(ConfigError, match="exactly 32"):
        recipient(f"raw:{tmp_path / 'raw.key'}")


@given(st.text(max_size=30), st.sampled_from(["", "azure:", "trustd:", "azure:https://"]))
def test_any_text_is_read_or_refused(tmp_path_factory, text, scheme):
    # neither finds a file: nothing here may reach for a vault before the reference is whole
    with pytest.raises(ConfigError):
        recipient(scheme + text, connection=tmp_path_factory.getbasetemp() / "none.toml")


def test_a_key_file_needs_neither_the_cloud_nor_a_network(tmp_path):
    new_identity(tmp_path / "me.key")
    code = (
        "import sys; from sealserve.keys import identity, recipient\n"
        f"recipient('hpke:{tmp_path}/me.key.pub'); identity('{tmp_path}/me.key')\n"
        "assert not {'azure', 'httpx', 'requests'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=tmp_path)
