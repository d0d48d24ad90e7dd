"""Slots: opened by whom they are addressed to, for one root and header, and by other programs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import padding, rsa, x25519

from sealserve.keys import HpkeIdentity, RsaRecipient, keyfile, new_identity
from sealserve.keys.keyid import KeyId
from sealserve.keys.session import open_slot
from sealserve.keys.wrap import CLASSIC, HYBRID, slot_info
from sealserve.models.slots import Slot
from sealserve.native.errors import ConfigError, IntegrityError, ReleaseError
from sealserve.native.secret import SecretBuffer

KEY = bytes(range(100, 132))
ROOT = bytes([1] * 32)
HEADER = bytes([2] * 32)
KEM = {HYBRID: hpke.KEM.MLKEM768_X25519, CLASSIC: hpke.KEM.X25519}
VERSION = KeyId("vault.example", "k", "ab" * 16)


@pytest.fixture(scope="module", params=[HYBRID, CLASSIC])
def me(request, tmp_path_factory):
    return new_identity(tmp_path_factory.mktemp("me") / "me.key", request.param)


@pytest.fixture(scope="module")
def vault_key():
    return rsa.generate_private_key(65537, 2048)


def wrapped(identity):
    with SecretBuffer.from_bytes(KEY) as key:
        return identity.recipient.wrap(key, ROOT, HEADER)


def by_hand(identity):
    """The suite and `info` as SPEC.md and RFC 9180 have them, with nothing of ours."""
    suite = hpke.Suite(KEM[identity.recipient.suite], hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    return suite, b"sealserve/slot/v1\0" + ROOT + HEADER


def test_a_slot_opens_for_whom_it_is_addressed_to(me):
    slot = wrapped(me)
    assert (slot.kind, slot.recipient, slot.algorithm) == (
        "hpke",
        me.recipient.id,
        me.recipient.suite,
    )
    with me.unwrap([slot], ROOT, HEADER) as key:
        assert key.equals(KEY)


def test_another_program_opens_our_slot(me):
    suite, info = by_hand(me)
    assert suite.decrypt(wrapped(me).wrapped, me._private, info) == KEY


def test_we_open_the_slot_of_another_program(me):
    suite, info = by_hand(me)
    slot = replace(wrapped(me), wrapped=suite.encrypt(KEY, me.recipient.public, info))
    with me.unwrap([slot], ROOT, HEADER) as key:
        assert key.equals(KEY)


def test_no_two_slots_are_alike(me):
    assert wrapped(me).wrapped != wrapped(me).wrapped


MOVED = {
    "another root": (bytes([3] * 32), HEADER),
    "another header": (ROOT, bytes([3] * 32)),
    "root and header changed places": (HEADER, ROOT),
}


@pytest.mark.parametrize(("root", "header"), MOVED.values(), ids=MOVED)
def test_a_slot_that_was_moved_is_refused(root, header, me):
    with pytest.raises(IntegrityError, match="does not open"):
        me.unwrap([wrapped(me)], root, header)


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_slot_that_was_altered_is_refused(place, me):
    slot = wrapped(me)
    data = bytearray(slot.wrapped)
    data[place] ^= 1
    with pytest.raises(IntegrityError):
        me.unwrap([replace(slot, wrapped=bytes(data))], ROOT, HEADER)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 48])
def test_a_slot_that_was_cut_is_refused(size, me):
    slot = wrapped(me)
    with pytest.raises(IntegrityError):
        me.unwrap([replace(slot, wrapped=slot.wrapped[:size])], ROOT, HEADER)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_slot_with_a_key_of_another_length_is_refused(size, me):
    suite, info = by_hand(me)
    other = suite.encrypt(bytes(size), me.recipient.public, info)
    with pytest.raises(IntegrityError):
        me.unwrap([replace(wrapped(me), wrapped=other)], ROOT, HEADER)


def test_a_bad_slot_in_front_of_a_good_one_does_no_harm(me):
    slot = wrapped(me)
    with me.unwrap([replace(slot, wrapped=b"x" * 100), slot], ROOT, HEADER) as key:
        assert key.equals(KEY)


def test_nothing_addressed_to_us(me):
    slot = wrapped(me)
    others = [
        replace(slot, recipient="0" * 32),
        replace(slot, algorithm=CLASSIC if slot.algorithm == HYBRID else HYBRID),
        replace(slot, kind="azure"),
    ]
    with pytest.raises(ReleaseError) as caught:
        me.unwrap(others, ROOT, HEADER)
    assert me.recipient.id in str(caught.value)
    assert "0" * 32 in str(caught.value)
    with pytest.raises(ReleaseError, match="slots for nobody"):
        me.unwrap([], ROOT, HEADER)


def test_the_two_halves_of_a_hybrid_do_not_mix(tmp_path):
    one = new_identity(tmp_path / "one")
    new_identity(tmp_path / "two")
    lattice, curve = keyfile.read_private(tmp_path / "one")
    _, other_curve = keyfile.read_private(tmp_path / "two")
    mixed = HpkeIdentity([lattice, other_curve])
    assert mixed.recipient.id != one.recipient.id
    slot = replace(wrapped(one), recipient=mixed.recipient.id)
    with pytest.raises(IntegrityError):
        mixed.unwrap([slot], ROOT, HEADER)
    with pytest.raises(ReleaseError):
        HpkeIdentity([curve]).unwrap([wrapped(one)], ROOT, HEADER)


def test_a_recipients_id_is_that_of_the_raw_public_key():
    key = x25519.X25519PrivateKey.from_private_bytes(bytes(range(32)))
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_key().public_bytes_raw())
    assert HpkeIdentity([key]).recipient.id == digest.finalize()[:16].hex()


def test_an_identity_does_not_print_its_key(me):
    assert repr(me) == f"HpkeIdentity({me.recipient.suite}, {me.recipient.id})"


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_only_input_keys_are_wrapped(size, me, vault_key):
    for recipient in (me.recipient, RsaRecipient(VERSION, vault_key.public_key())):
        with SecretBuffer(size) if size else SecretBuffer(1) as key, pytest.raises(ValueError):  # noqa: PT011
            recipient.wrap(key, ROOT, HEADER)


@pytest.mark.parametrize(("root", "header"), [(b"", HEADER), (ROOT, b""), (ROOT + b"x", HEADER)])
def test_root_and_header_are_digests(root, header):
    with pytest.raises(ValueError, match="32 bytes"):
        slot_info(root, header)


def rsa_wrapped(vault_key) -> Slot:
    with SecretBuffer.from_bytes(KEY) as key:
        return RsaRecipient(VERSION, vault_key.public_key()).wrap(key, ROOT, HEADER)


def oaep(algorithm, mgf=None, label=None):
    return padding.OAEP(padding.MGF1((mgf or algorithm)()), algorithm(), label)


def test_a_vault_slot_is_plain_rsa_oaep_256_with_an_empty_label(vault_key):
    slot = rsa_wrapped(vault_key)
    assert (slot.kind, slot.recipient, slot.algorithm) == ("azure", VERSION.url, "RSA-OAEP-256")
    assert vault_key.decrypt(slot.wrapped, oaep(hashes.SHA256)) == KEY
    with open_slot(slot, vault_key) as key:
        assert key.equals(KEY)


NOT_OAEP_256 = {
    "SHA-1": oaep(hashes.SHA1),
    "SHA-1 for the mask": oaep(hashes.SHA256, hashes.SHA1),
    "a label": oaep(hashes.SHA256, label=b"x"),
    "PKCS #1 v1.5": padding.PKCS1v15(),
}


@pytest.mark.parametrize("scheme", NOT_OAEP_256.values(), ids=NOT_OAEP_256)
def test_another_padding_does_not_open(scheme, vault_key):
    slot = replace(rsa_wrapped(vault_key), wrapped=vault_key.public_key().encrypt(KEY, scheme))
    with pytest.raises(IntegrityError, match="does not open"):
        open_slot(slot, vault_key)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_vault_slot_with_a_key_of_another_length_does_not_open(size, vault_key):
    other = vault_key.public_key().encrypt(bytes(size), oaep(hashes.SHA256))
    with pytest.raises(IntegrityError):
        open_slot(replace(rsa_wrapped(vault_key), wrapped=other), vault_key)


@pytest.mark.parametrize("data", [b"", b"x" * 255, b"x" * 257, b"\xff" * 256])
def test_a_vault_slot_that_is_no_ciphertext_does_not_open(data, vault_key):
    with pytest.raises(IntegrityError):
        open_slot(replace(rsa_wrapped(vault_key), wrapped=data), vault_key)


def test_a_weak_vault_key_is_refused():
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(ConfigError, match="1024 bits"):
        RsaRecipient(VERSION, weak.public_key())


def test_a_vault_slot_names_a_version(vault_key):
    with pytest.raises(ValueError, match="one version"):
        RsaRecipient(replace(VERSION, version=""), vault_key.public_key())
