"""HPKE key files: written once and whole, read strictly, and readable by other tools."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from sealserve.keys import HpkeIdentity, HpkeRecipient, keyfile, new_identity
from sealserve.keys.wrap import CLASSIC, HYBRID
from sealserve.native.errors import ConfigError, UnavailableError

PLAIN = serialization.NoEncryption()
PKCS8 = serialization.PrivateFormat.PKCS8
PEM = serialization.Encoding.PEM


def pem(key, encryption=PLAIN):
    return key.private_bytes(PEM, PKCS8, encryption)


@pytest.mark.parametrize("suite", [HYBRID, CLASSIC])
def test_a_pair_is_written_and_read_back(suite, tmp_path):
    made = new_identity(tmp_path / "me.key", suite)
    assert {path.name for path in tmp_path.iterdir()} == {"me.key", "me.key.pub"}
    assert HpkeIdentity.load(tmp_path / "me.key").recipient.id == made.recipient.id
    public = HpkeRecipient.load(tmp_path / "me.key.pub")
    assert (public.suite, public.id) == (suite, made.recipient.id)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_modes_do_not_depend_on_the_umask(mask, tmp_path):
    before = os.umask(mask)
    try:
        new_identity(tmp_path / "me.key", CLASSIC)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"me.key": 0o600, "me.key.pub": 0o644}


@pytest.mark.parametrize("name", ["me.key", "me.key.pub"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_nothing_is_overwritten_and_no_half_pair_stays(name, kind, tmp_path):
    taken = tmp_path / name
    if kind == "file":
        taken.write_bytes(b"precious")
    elif kind == "folder":
        taken.mkdir()
    else:
        taken.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="never overwritten"):
        new_identity(tmp_path / "me.key", CLASSIC)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert kind != "file" or taken.read_bytes() == b"precious"


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        new_identity(tmp_path / "none" / "me.key", CLASSIC)


def test_a_name_too_long(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        new_identity(tmp_path / ("k" * 300), CLASSIC)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="No space left"):
        new_identity(tmp_path / "me.key", CLASSIC)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_at_the_second_file_leaves_no_half_pair(tmp_path, monkeypatch):
    write_new = keyfile.write_new

    def full(path, data, *, mode):
        if path.suffix == ".pub":
            raise UnavailableError("no room")
        write_new(path, data, mode=mode)

    monkeypatch.setattr(keyfile, "write_new", full)
    with pytest.raises(UnavailableError):
        new_identity(tmp_path / "me.key", CLASSIC)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        new_identity(tmp_path / "file" / "me.key", CLASSIC)


def test_an_unknown_suite_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no suite 'P-256'"):
        new_identity(tmp_path / "me.key", "P-256")
    assert not list(tmp_path.iterdir())


def test_openssl_reads_the_classic_pair(tmp_path):
    new_identity(tmp_path / "me.key", CLASSIC)
    command = ["openssl", "pkey", "-in", tmp_path / "me.key", "-pubout"]
    shown = subprocess.run(command, capture_output=True, check=True).stdout
    assert shown == (tmp_path / "me.key.pub").read_bytes()


CURVE = x25519.X25519PrivateKey.generate()
LATTICE = mlkem.MLKEM768PrivateKey.generate()
STRANGERS = {
    "an RSA key": rsa.generate_private_key(65537, 2048),
    "a P-256 key": ec.generate_private_key(ec.SECP256R1()),
    "an Ed25519 key": ed25519.Ed25519PrivateKey.generate(),
    "an ML-KEM-1024 key": mlkem.MLKEM1024PrivateKey.generate(),
}
GOOD = pem(CURVE)
LOCKED = pem(CURVE, serialization.BestAvailableEncryption(b"x"))
PRIVATE_REFUSALS = {
    "empty": b"",
    "text": b"hello\n",
    "text in front": b"my key\n" + GOOD,
    "text behind": GOOD + b"bye\n",
    "a line break in front": b"\n" + GOOD,
    "cut": GOOD[:-5],
    "the end of another block": GOOD.replace(b"END PRIVATE", b"END PUBLIC"),
    "not base64": GOOD.replace(b"\nM", b"\n!", 1),
    "no DER": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "encrypted": LOCKED,
    "carriage returns": GOOD.replace(b"\n", b"\r\n"),
    "the public key": keyfile.public_pem((CURVE.public_key(),)),
    "private and public": GOOD + keyfile.public_pem((CURVE.public_key(),)),
    "two curves": GOOD * 2,
    "the halves in the other order": keyfile.private_pem((CURVE, LATTICE)),
    "the lattice alone": keyfile.private_pem((LATTICE,)),
    "three parts": keyfile.private_pem((LATTICE, CURVE, CURVE)),
    "longer than a key file": GOOD * 200,
    **{name: pem(key) for name, key in STRANGERS.items()},
}


@pytest.mark.parametrize("data", PRIVATE_REFUSALS.values(), ids=PRIVATE_REFUSALS)
def test_what_is_no_private_key_file_is_refused(data, tmp_path):
    path = tmp_path / "me.key"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        HpkeIdentity.load(path)
    secret = CURVE.private_bytes_raw()
    assert caught.value.__cause__ is None
    assert secret.hex() not in str(caught.value)


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read(name, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        HpkeIdentity.load(tmp_path / name)


def test_a_pair_mixed_up_is_explained(tmp_path):
    new_identity(tmp_path / "me.key", CLASSIC)
    with pytest.raises(ConfigError, match=r"this is the private key.*me\.key\.pub"):
        HpkeRecipient.load(tmp_path / "me.key")
    with pytest.raises(ConfigError, match="this is the public key"):
        HpkeIdentity.load(tmp_path / "me.key.pub")


PUBLIC_REFUSALS = {
    "empty": b"",
    "two curves": keyfile.public_pem((CURVE.public_key(),) * 2),
    "the halves in the other order": keyfile.public_pem((CURVE.public_key(), LATTICE.public_key())),
    **{
        name: key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        for name, key in STRANGERS.items()
    },
}


@pytest.mark.parametrize("data", PUBLIC_REFUSALS.values(), ids=PUBLIC_REFUSALS)
def test_what_is_no_public_key_file_is_refused(data, tmp_path):
    path = tmp_path / "me.pub"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        HpkeRecipient.load(path)


@given(st.binary(max_size=300), st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_bytes_are_a_key_file_or_refused(tmp_path_factory, data, place, change):
    flipped = bytearray(GOOD)
    flipped[place] ^= change
    path = tmp_path_factory.getbasetemp() / "any.key"
    for content in (data, bytes(flipped)):
        path.write_bytes(content)
        for load in (HpkeIdentity.load, HpkeRecipient.load):
            try:
                load(path)
            except ConfigError:
                continue
