"""Key slots: who can open, what happens to slots that were moved, and what a reader refuses."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.keys import RsaRecipient, new_identity
from sealserve.keys.keyid import KeyId
from sealserve.keys.wrap import oaep_256
from sealserve.models import RawKey, Slot, inspect, rewrap, slot_area, unseal, verify
from sealserve.native.errors import ConfigError, FormatError, IntegrityError, ReleaseError
from sealserve.native.secret import SecretBuffer
from support.models_onnx import classifier, small
from support.models_refusals import (
    Refusal,
    assert_opening_refused,
    assert_unseal_refused,
    assert_verify_refused,
    raw_key,
)
from support.models_sealed import KEY, PAGE, Regions, seal_model

VAULT_KEY = "https://vault.example/keys/model/0123456789abcdef0123456789abcdef"
HPKE = {"algorithm": "X25519", "kind": "hpke", "recipient": 32 * "a", "wrapped": "AAAA"}
AZURE = {"algorithm": "RSA-OAEP-256", "kind": "azure", "recipient": VAULT_KEY, "wrapped": "AAAA"}


class Vault:
    """An RSA key that opens its slots, as a vault would for an attested server."""

    def __init__(self, url: str = VAULT_KEY) -> None:
        self._private = rsa.generate_private_key(65537, 2048)
        self.recipient = RsaRecipient(KeyId.parse(url), self._private.public_key())

    def unwrap(self, slots, root, header_sha256):
        (slot,) = (slot for slot in slots if slot.recipient == self.recipient.key_id.url)
        return SecretBuffer.from_bytes(self._private.decrypt(slot.wrapped, oaep_256()))


@pytest.fixture(scope="module")
def me(tmp_path_factory):
    return new_identity(tmp_path_factory.mktemp("me") / "me")


@pytest.fixture(scope="module")
def you(tmp_path_factory):
    return new_identity(tmp_path_factory.mktemp("you") / "you", "X25519")


@pytest.fixture(scope="module")
def vault():
    return Vault()


def area_of(text: bytes, *, version: int = 1, length: int | None = None) -> bytes:
    """A slot area with this text, whatever it is."""
    size = len(text) if length is None else length
    area = struct.pack("<16sII", b"sealserve/slots\n", version, size) + text
    return area.ljust(-(-len(area) // PAGE) * PAGE, b"\0")


def json_area(*slots: dict[str, object]) -> bytes:
    return area_of(json.dumps({"slots": slots}, sort_keys=True, separators=(",", ":")).encode())


def many(count: int) -> list[dict[str, object]]:
    return [{**HPKE, "recipient": f"{i:032x}"} for i in range(count)]


ACCEPTED = {
    "none": json_area(),
    "one of each kind": json_area(HPKE, AZURE),
    "one recipient, two algorithms": json_area(HPKE, {**HPKE, "algorithm": "MLKEM768-X25519"}),
    "64": json_area(*many(64)),
    "4096 bytes wrapped": json_area({**HPKE, "wrapped": "AAAA" * 1365 + "AA"}),
    "a port": json_area({**AZURE, "recipient": "https://127.0.0.1:8443/keys/a/b"}),
}
A_RECIPIENT = "slot for "
REFUSED: dict[str, tuple[bytes, type[Exception], str]] = {
    "65 slots": (json_area(*many(65)), FormatError, "65 key slots; at most 64"),
    "no length": (area_of(b""), FormatError, "key slots of 0 bytes"),
    "a length of 1 GiB": (
        area_of(b'{"slots":[]}', length=1 << 30),
        FormatError,
        "key slots of 1073741824 bytes",
    ),
    "a length beyond the area": (area_of(b'{"slots":[]}', length=5000), IntegrityError, "by their"),
    "another version": (area_of(b'{"slots":[]}', version=2), FormatError, "version 2"),
    "not json": (area_of(b"slots"), FormatError, "cannot be read"),
    "not utf-8": (area_of(b'{"slots":["\xff"]}'), FormatError, "cannot be read"),
    "a list": (area_of(b"[]"), FormatError, "cannot be read"),
    "deep": (area_of(b"[" * 4000), FormatError, "cannot be read"),
    "white space": (area_of(b'{"slots": []}'), FormatError, "canonical"),
    "a member twice": (area_of(b'{"slots":[],"slots":[]}'), FormatError, "canonical"),
    "another member": (area_of(b'{"more":1,"slots":[]}'), FormatError, "cannot be read"),
    "an escape without need": (
        area_of(json_area(HPKE)[24:].rstrip(b"\0").replace(b'"aaa', b'"\\u0061aa')),
        FormatError,
        "canonical",
    ),
    "a slot without kind": (
        json_area({k: v for k, v in HPKE.items() if k != "kind"}),
        FormatError,
        "cannot be read",
    ),
    "a slot with more": (json_area({**HPKE, "url": "x"}), FormatError, "cannot be read"),
    "a number": (json_area({**HPKE, "wrapped": 1}), FormatError, "cannot be read"),
    "another kind": (json_area({**HPKE, "kind": "pgp"}), FormatError, "kind 'pgp'"),
    "another algorithm": (json_area({**HPKE, "algorithm": "RSA-OAEP-256"}), FormatError, "wanted"),
    "RSA-OAEP": (json_area({**AZURE, "algorithm": "RSA-OAEP"}), FormatError, "wanted RSA-OAEP-256"),
    "a short id": (json_area({**HPKE, "recipient": "a" * 31}), FormatError, A_RECIPIENT),
    "an id in capitals": (json_area({**HPKE, "recipient": "A" * 32}), FormatError, A_RECIPIENT),
    "http": (
        json_area({**AZURE, "recipient": VAULT_KEY.replace("https", "http")}),
        FormatError,
        A_RECIPIENT,
    ),
    "no key version": (
        json_area({**AZURE, "recipient": "https://v.example/keys/model"}),
        FormatError,
        A_RECIPIENT,
    ),
    "a user in the URL": (
        json_area({**AZURE, "recipient": "https://me@v.example/keys/a/b"}),
        FormatError,
        A_RECIPIENT,
    ),
    "513 characters": (
        json_area({**AZURE, "recipient": f"https://{'v' * 494}/keys/a/bcd"}),
        FormatError,
        A_RECIPIENT,
    ),
    "a line break at the end": (
        json_area({**HPKE, "recipient": "a" * 32 + "\n"}),
        FormatError,
        A_RECIPIENT,
    ),
    "wrapped nothing": (json_area({**HPKE, "wrapped": ""}), FormatError, "wraps 0 bytes"),
    "wrapped 4097 bytes": (
        json_area({**HPKE, "wrapped": "AAAA" * 1365 + "AAA"}),
        FormatError,
        "wraps 4097 bytes",
    ),
    "base64 with padding": (json_area({**HPKE, "wrapped": "AA=="}), FormatError, "base64url"),
    "base64 with loose bits": (json_area({**HPKE, "wrapped": "AB"}), FormatError, "base64url"),
    "base64 of one digit": (json_area({**HPKE, "wrapped": "A"}), FormatError, "base64url"),
    "plain base64": (json_area({**HPKE, "wrapped": "++//"}), FormatError, "base64url"),
    "base64 with a line break": (json_area({**HPKE, "wrapped": "AA\nAA"}), FormatError, "base64"),
    "base64 beyond ASCII": (
        area_of(json_area(HPKE)[24:].rstrip(b"\0").replace(b"AAAA", "Ä".encode())),
        FormatError,
        "base64url",
    ),
    "a recipient twice": (json_area(HPKE, {**HPKE, "wrapped": "AAAB"}), FormatError, "one recip"),
    "above 256 KiB": (
        json_area(*({**slot, "wrapped": "A" * 4200} for slot in many(63))),
        FormatError,
        "at most 262144",
    ),
}


@pytest.mark.parametrize("area", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_accepted_encodes_to_itself(area):
    assert slot_area.encode_area(slot_area.decode_area(area)) == area


def test_the_largest_area_is_below_its_limit():
    """64 slots of the largest algorithm, seven times over (SPEC section 4)."""
    slots = [Slot("hpke", f"{i:032x}", "MLKEM768-X25519", bytes(1168)) for i in range(64)]
    assert len(slot_area.encode_area(slots)) < slot_area.MAX_AREA_BYTES / 2


@pytest.mark.parametrize("case", REFUSED)
def test_slots_of_another_shape_are_refused(case, tmp_path, capsys):
    area, error, says = REFUSED[case]
    with pytest.raises(error, match=says):
        slot_area.decode_area(area)
    path = tmp_path / "net.sealed"
    model = seal_model(small(), path)
    path.write_bytes(replace(Regions.of(path.read_bytes()), slots=area).data)
    wanted = Refusal(error, says)
    assert_opening_refused(path, model.root, raw_key(), wanted)
    assert_unseal_refused(path, model.root, wanted, capsys)
    assert_verify_refused(path, model.root, capsys)


def test_an_area_above_the_limit_is_not_read(tmp_path):
    """A sparse file of a terabyte behind the tree costs nothing."""
    path = tmp_path / "net.sealed"
    model = seal_model(small(), path)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert_opening_refused(path, model.root, raw_key(), Refusal(FormatError, "at most 262144"))


def test_every_recipient_opens_for_itself(me, you, vault, tmp_path):
    path = tmp_path / "net.sealed"
    model = seal_model(small(), path, keys=[me.recipient, you.recipient, vault.recipient])
    assert [slot.kind for slot in inspect(path).slots] == ["hpke", "hpke", "azure"]
    for number, opener in enumerate((me, you, vault)):
        unseal(path, tmp_path / str(number), opener, root=model.root)
        assert (tmp_path / str(number) / "model.onnx").read_bytes()


def test_nobody_else_opens(me, you, tmp_path):
    path = tmp_path / "net.sealed"
    model = seal_model(small(), path, keys=[me.recipient])
    wanted = Refusal(ReleaseError, f"no slot is addressed to hpke {you.recipient.id}")
    assert_opening_refused(path, model.root, you, wanted)


def moved(tmp_path, opener):
    """A model of ours with the slots of another one for the same recipient."""
    paths = [tmp_path / "mine.sealed", tmp_path / "other.sealed"]
    models = [seal_model(classifier(i), p, keys=[opener.recipient]) for i, p in enumerate(paths)]
    mine, other = (Regions.of(path.read_bytes()) for path in paths)
    paths[0].write_bytes(replace(mine, slots=other.slots).data)
    return paths[0], models[0].root


def test_a_moved_hpke_slot_does_not_open(me, tmp_path):
    path, root = moved(tmp_path, me)
    wanted = Refusal(IntegrityError, f"the slot addressed to {me.recipient.id} does not open")
    assert_opening_refused(path, root, me, wanted)


def test_a_moved_vault_slot_opens_to_a_key_that_does_not_fit(vault, tmp_path):
    path, root = moved(tmp_path, vault)
    assert_opening_refused(path, root, vault, Refusal(IntegrityError, "this key is"))


def test_an_altered_slot_only_prevents_opening(me, tmp_path):
    path = tmp_path / "net.sealed"
    model = seal_model(small(), path, keys=[me.recipient])
    regions = Regions.of(path.read_bytes())
    (slot,) = slot_area.decode_area(regions.slots)
    broken = replace(slot, wrapped=slot.wrapped[:-1] + bytes([slot.wrapped[-1] ^ 1]))
    path.write_bytes(replace(regions, slots=slot_area.encode_area([broken])).data)
    assert_opening_refused(path, model.root, me, Refusal(IntegrityError, "does not open"))
    assert verify(path, model.root).root == model.root


class Short:
    """An opener that hands out a key of 16 bytes."""

    def unwrap(self, slots, root, header_sha256):
        return SecretBuffer(16)


def test_a_key_of_another_length_is_refused(tmp_path):
    path = tmp_path / "net.sealed"
    model = seal_model(small(), path)
    wanted = Refusal(IntegrityError, "the key has 16 bytes; wanted 32")
    assert_opening_refused(path, model.root, Short(), wanted)


def test_rewrapping_keeps_everything_but_the_slots(me, you, tmp_path):
    path = tmp_path / "net.sealed"
    model = seal_model(classifier(), path, keys=[me.recipient])
    before = Regions.of(path.read_bytes())

    again = rewrap(path, me, [you.recipient])

    after = Regions.of(path.read_bytes())
    assert again == inspect(path)
    assert again.root == model.root
    assert replace(after, slots=before.slots) == before
    unseal(path, tmp_path / "out", you, root=model.root)
    assert_opening_refused(path, model.root, me, Refusal(ReleaseError, "no slot is addressed"))


def test_rewrapping_into_another_file_leaves_the_first(me, you, tmp_path):
    path, out = tmp_path / "net.sealed", tmp_path / "theirs.sealed"
    seal_model(small(), path, keys=[me.recipient])
    before = path.read_bytes()
    rewrap(path, me, [me.recipient, you.recipient], out=out)
    assert path.read_bytes() == before
    assert len(inspect(out).slots) == 2


def test_rewrapping_by_somebody_without_a_slot_changes_nothing(me, you, tmp_path):
    path = tmp_path / "net.sealed"
    seal_model(small(), path, keys=[me.recipient])
    before = path.read_bytes()
    with pytest.raises(ReleaseError):
        rewrap(path, you, [you.recipient])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.sealed"]


def test_rewrapping_an_altered_file_changes_nothing(me, you, tmp_path):
    """The whole file is checked before it gets its name."""
    path = tmp_path / "net.sealed"
    seal_model(classifier(), path, keys=[me.recipient])
    data = bytearray(path.read_bytes())
    data[600_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="not the one in the hash tree"):
        rewrap(path, me, [you.recipient])
    assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["net.sealed"]


def test_rewrapping_something_behind_a_url_needs_a_target(me, tmp_path):
    path = tmp_path / "net.sealed"
    seal_model(small(), path, keys=[me.recipient])
    with pytest.raises(ConfigError, match="URL cannot be replaced"):
        rewrap(f"file://{path}", me, [me.recipient])
    rewrap(f"file://{path}", me, [me.recipient], out=tmp_path / "again")


NOWHERE = {
    "a folder": lambda path: path / "folder",
    "in a folder that is not there": lambda path: path / "nowhere/net.sealed",
    "a name that is too long": lambda path: path / ("a" * 300),
}


@pytest.mark.parametrize("place", NOWHERE.values(), ids=NOWHERE)
def test_rewrapping_into_what_cannot_be_a_file(place, me, tmp_path):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "net.sealed"
    seal_model(small(), path, keys=[me.recipient])
    with pytest.raises(ConfigError, match="cannot write"):
        rewrap(path, me, [me.recipient], out=place(tmp_path))


def test_recipients_are_counted_before_anything_is_written(me, vault, tmp_path):
    path = tmp_path / "net.sealed"
    seal_model(small(), path, keys=[me.recipient])
    for keys in ([], [RawKey(KEY)], [me.recipient, RawKey(KEY)], [vault.recipient] * 65):
        with pytest.raises(ConfigError, match="recipients"):
            rewrap(path, me, keys)


def test_a_recipient_twice_is_refused_before_anything_is_read(me, tmp_path):
    path = tmp_path / "net.sealed"
    seal_model(small(), path, keys=[me.recipient])
    seen: list[object] = []
    with pytest.raises(ConfigError, match="two key slots for one recipient"):
        rewrap(path, me, [me.recipient] * 2, progress=lambda *step: seen.append(step))
    assert not seen


def test_a_raw_key_is_exactly_32_bytes(tmp_path):
    for size in (0, 31, 33, 64):
        (tmp_path / "key").write_bytes(bytes(size))
        with pytest.raises(ConfigError, match="wanted exactly 32"):
            RawKey(tmp_path / "key")
        with pytest.raises(ConfigError, match="wanted exactly 32"):
            RawKey(bytes(size))
    with pytest.raises(ConfigError, match="cannot read raw key file"):
        RawKey(tmp_path / "none")


def test_a_raw_key_does_not_show_itself():
    assert KEY.hex() not in repr(RawKey(KEY))
    assert repr(KEY) not in repr(RawKey(KEY))
