"""Rewrapping that keeps: what others have stays, and whoever is named again has it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519

from sealserve.keys import HpkeIdentity, new_identity
from sealserve.keys.keyid import KeyId
from sealserve.keys.wrap import HpkeRecipient, RsaRecipient
from sealserve.models import RawKey, Slot, inspect, rewrap, slot_area, unseal
from sealserve.models import format as layout
from sealserve.native.errors import ConfigError, FormatError, IntegrityError, ReleaseError
from support.keys_vault import rsa_key
from support.models_onnx import classifier, small
from support.models_sealed import KEY, Regions, seal_model

VAULT = "https://vault.example/keys/model"


@pytest.fixture(scope="module")
def me(tmp_path_factory: pytest.TempPathFactory) -> HpkeIdentity:
    return new_identity(tmp_path_factory.mktemp("me") / "me", "X25519")


@pytest.fixture(scope="module")
def you(tmp_path_factory: pytest.TempPathFactory) -> HpkeIdentity:
    return new_identity(tmp_path_factory.mktemp("you") / "you")


@pytest.fixture
def path(tmp_path: Path, me: HpkeIdentity, you: HpkeIdentity) -> Path:
    """A file for both of us."""
    file = tmp_path / "net.sealed"
    seal_model(small(), file, keys=[me.recipient, you.recipient])
    return file


def vault_key(version: str, number: int = 1) -> RsaRecipient:
    return RsaRecipient(KeyId.parse(f"{VAULT}/{version * 32}"), rsa_key(2048, number).public_key())


def strangers(count: int) -> list[HpkeRecipient]:
    keys = [x25519.X25519PrivateKey.generate().public_key() for _ in range(count)]
    return [HpkeRecipient.of([key]) for key in keys]


def slots_of(path: Path) -> tuple[Slot, ...]:
    """Every slot as it stands in the file."""
    return slot_area.decode_area(Regions.of(path.read_bytes()).slots)


def with_slots(path: Path, slots: Sequence[Slot]) -> None:
    regions = Regions.of(path.read_bytes())
    path.write_bytes(replace(regions, slots=slot_area.encode_area(slots)).data)


def test_the_slots_of_others_stay_byte_for_byte(
    path: Path, tmp_path: Path, me: HpkeIdentity, you: HpkeIdentity
) -> None:
    before, root = slots_of(path), inspect(path).root
    again = rewrap(path, me, [vault_key("a")], keep=True)
    after = slots_of(path)
    assert after[:2] == before
    assert [slot.recipient for slot in after[2:]] == [f"{VAULT}/{'a' * 32}"]
    assert again == inspect(path)
    assert again.root == root
    for name, identity in (("me", me), ("you", you)):
        unseal(path, tmp_path / name, identity, root=root)


def test_nothing_but_the_slots_changes(tmp_path: Path, me: HpkeIdentity) -> None:
    path = tmp_path / "net.sealed"
    seal_model(classifier(), path, keys=[me.recipient])
    before = Regions.of(path.read_bytes())
    rewrap(path, me, [vault_key("a")], keep=True)
    after = Regions.of(path.read_bytes())
    assert replace(after, slots=before.slots) == before


def test_without_a_word_the_slots_of_others_go(path: Path, me: HpkeIdentity) -> None:
    rewrap(path, me, [vault_key("a")])
    assert [slot.kind for slot in slots_of(path)] == ["azure"]


def test_whoever_is_named_again_has_one_slot_and_a_new_one(
    path: Path, tmp_path: Path, me: HpkeIdentity, you: HpkeIdentity
) -> None:
    mine, yours = slots_of(path)
    rewrap(path, me, [me.recipient], keep=True)
    kept, new = slots_of(path)
    assert kept == yours
    assert new.recipient == mine.recipient
    assert new.wrapped != mine.wrapped
    unseal(path, tmp_path / "out", me)


def test_a_new_version_of_a_vault_key_stands_beside_the_old(path: Path, me: HpkeIdentity) -> None:
    """Servers under the old policy go on until their owner disables the old version."""
    for version in ("a", "b", "a"):
        rewrap(path, me, [vault_key(version)], keep=True)
    versions = [slot.recipient[-1] for slot in slots_of(path) if slot.kind == "azure"]
    assert versions == ["b", "a"]


def test_a_slot_under_another_algorithm_is_the_same_owners(path: Path, me: HpkeIdentity) -> None:
    mine, yours = slots_of(path)
    with_slots(path, [mine, replace(mine, algorithm="MLKEM768-X25519"), yours])
    rewrap(path, me, [me.recipient], keep=True)
    assert [slot.recipient for slot in slots_of(path)] == [yours.recipient, mine.recipient]


def test_slots_nobody_can_open_are_kept_too(path: Path, me: HpkeIdentity) -> None:
    """They are not authenticated, and whether they open is for their owners to find out."""
    broken = Slot("azure", f"{VAULT}/{'c' * 32}", "RSA-OAEP-256", b"broken")
    with_slots(path, [*slots_of(path), broken])
    rewrap(path, me, [me.recipient], keep=True)
    assert broken in slots_of(path)


def test_a_raw_key_opens_and_the_slots_stay(tmp_path: Path, me: HpkeIdentity) -> None:
    path = tmp_path / "net.sealed"
    seal_model(small(), path, keys=[RawKey(KEY), me.recipient])
    rewrap(path, RawKey(KEY), [vault_key("a")], keep=True)
    assert [slot.kind for slot in slots_of(path)] == ["hpke", "azure"]


def test_another_file_leaves_the_first(path: Path, tmp_path: Path, me: HpkeIdentity) -> None:
    before, out = path.read_bytes(), tmp_path / "published.sealed"
    assert rewrap(path, me, [vault_key("a")], keep=True, out=out) == inspect(out)
    assert path.read_bytes() == before
    assert slots_of(tmp_path / "published.sealed")[:2] == slots_of(path)


def test_as_many_slots_as_a_file_may_have(tmp_path: Path, me: HpkeIdentity) -> None:
    path = tmp_path / "net.sealed"
    seal_model(small(), path, keys=[me.recipient, *strangers(62)])
    rewrap(path, me, [vault_key("a")], keep=True)
    assert len(slots_of(path)) == 64
    rewrap(path, me, [vault_key("a"), me.recipient], keep=True)  # both have one already
    assert len(slots_of(path)) == 64
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="65 slots; at most 64"):
        rewrap(path, me, [vault_key("b")], keep=True)
    assert path.read_bytes() == before


def test_more_bytes_of_slots_than_a_file_may_have(path: Path, me: HpkeIdentity) -> None:
    wide = b"w" * slot_area.MAX_WRAPPED_BYTES
    long = [Slot("azure", f"{VAULT}/{number:032x}", "RSA-OAEP-256", wide) for number in range(60)]
    while True:  # as many as still fit
        try:
            with_slots(path, [*slots_of(path), long.pop()])
        except FormatError:
            break
    before = path.read_bytes()
    with pytest.raises(FormatError, match="key slots take"):
        rewrap(path, me, [vault_key(letter) for letter in "0123456789abcd"], keep=True)
    assert path.read_bytes() == before


REFUSED = {
    "somebody without a slot": ("you", ReleaseError),
    "an altered slot": ("altered", IntegrityError),
    "an altered file": ("cut", IntegrityError),
}


@pytest.mark.parametrize(("what", "error"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_changes_nothing(
    what: str, error: type[Exception], tmp_path: Path, me: HpkeIdentity, you: HpkeIdentity
) -> None:
    path = tmp_path / "net.sealed"
    seal_model(classifier(), path, keys=[me.recipient])
    if what == "altered":
        (mine,) = slots_of(path)
        with_slots(path, [replace(mine, wrapped=bytes([mine.wrapped[0] ^ 1]) + mine.wrapped[1:])])
    if what == "cut":
        data = bytearray(path.read_bytes())
        data[layout.PREFIX_BYTES + 600_000] ^= 1
        path.write_bytes(data)
    before = path.read_bytes()
    with pytest.raises(error):
        rewrap(path, you if what == "you" else me, [vault_key("a")], keep=True)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["net.sealed"]
