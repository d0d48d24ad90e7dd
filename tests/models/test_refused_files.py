"""Files that are not the one with the root: every region cut, extended, moved and changed.

Whoever made these has no key. The first table keeps the root of the honest file; in the second,
the tree is grown again over what was changed, so that only the layer behind the tree can refuse.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import msgspec
import pytest
from cryptography.cobblestone import Cobblestone256Encryptor

from sealserve.cli.main import run
from sealserve.models import RawKey, open_model
from sealserve.models import format as layout
from sealserve.native.errors import FormatError, IntegrityError
from support import models_verity
from support.models_onnx import classifier, small
from support.models_places import (
    COVERED,
    HEADER,
    MESSAGE,
    PADDING,
    SEALED_CHUNK,
    SUPERBLOCK,
    TREE,
    flipped,
    message,
    message_end,
    slots,
    tree,
)
from support.models_refusals import (
    Refusal,
    assert_opening_refused,
    assert_unseal_refused,
    assert_verify_refused,
    raw_key,
)
from support.models_sealed import (
    KEY,
    NO_SLOTS,
    PAGE,
    FolderPlace,
    Regions,
    archive_of,
    file_around,
    honest_contents,
    seal_model,
)

Change = Callable[[Regions], bytes]

CUT = Refusal(IntegrityError, "the file is cut")
SLOTS_CUT = Refusal(IntegrityError, "key slots take")
NOT_ZERO = Refusal(FormatError, "is not zero")
OTHER_SUPERBLOCK = Refusal(FormatError, "superblock")
OTHER_BLOCK = Refusal(IntegrityError, "not the one in the hash tree")
OTHER_ROOT = Refusal(IntegrityError, "root is")
NOT_FILLED = Refusal(IntegrityError, "not filled up with zeros")
NOT_CANONICAL = Refusal(FormatError, "cannot be read")
NOT_AUTHENTIC = Refusal(IntegrityError, "does not authenticate")
NO_COMMITMENT = Refusal(IntegrityError, "commitment")


def flip(place: Callable[[Regions], int], bit: int = 1) -> Change:
    return lambda r: flipped(r.data, place, bit)


def cut(place: Callable[[Regions], int]) -> Change:
    return lambda r: r.data[: place(r)]


def append(more: bytes) -> Change:
    return lambda r: r.data + more


def insert(place: Callable[[Regions], int], more: bytes) -> Change:
    return lambda r: r.data[: place(r)] + more + r.data[place(r) :]


def remove(place: Callable[[Regions], int], size: int) -> Change:
    return lambda r: r.data[: place(r)] + r.data[place(r) + size :]


def swap(place: Callable[[Regions], int], size: int) -> Change:
    """Two neighbours of this size change places."""

    def change(r: Regions) -> bytes:
        at, data = place(r), r.data
        one, other = data[at : at + size], data[at + size : at + 2 * size]
        return data[:at] + other + one + data[at + 2 * size :]

    return change


def with_slots(area: bytes) -> Change:
    return lambda r: replace(r, slots=area).data


def first_chunk(r: Regions) -> int:
    return message(r) + 56


FLIPPED: dict[str, tuple[Change, Refusal]] = {
    **{f"flipped: {name}": (flip(place), OTHER_BLOCK) for name, place in MESSAGE.items()},
    **{f"flipped: {name}": (flip(place), NOT_ZERO) for name, place in PADDING.items()},
    **{f"flipped: {name}": (flip(place), OTHER_SUPERBLOCK) for name, place in SUPERBLOCK.items()},
    "flipped: magic": (flip(HEADER["magic"]), Refusal(FormatError, "not a sealed model")),
    "flipped: format version": (
        flip(HEADER["format version"]),
        Refusal(FormatError, "format version 0; this program reads 1"),
    ),
    "flipped: json length": (flip(HEADER["json length"]), NOT_CANONICAL),
    "flipped: json length, 1 GiB": (
        flip(lambda r: 23, 0x40),
        Refusal(FormatError, "1 to 65456 are allowed"),
    ),
    "flipped: json begin": (flip(HEADER["json begin"]), NOT_CANONICAL),
    "flipped: json end": (flip(HEADER["json end"]), NOT_CANONICAL),
    "flipped: name": (flip(HEADER["name"]), OTHER_BLOCK),
    "flipped: payload size": (flip(HEADER["payload size"]), CUT),
    "flipped: header padding begin": (flip(HEADER["header padding begin"]), NOT_ZERO),
    "flipped: header padding end": (flip(HEADER["header padding end"]), NOT_ZERO),
    "flipped: top block": (flip(TREE["top block"]), OTHER_ROOT),
    "flipped: top block filling": (flip(TREE["top block filling"]), OTHER_ROOT),
    "flipped: first leaf": (flip(TREE["first leaf"]), OTHER_BLOCK),
    "flipped: second block of leaves": (flip(TREE["second block of leaves"]), OTHER_BLOCK),
    "flipped: last leaf": (flip(TREE["last leaf"]), OTHER_BLOCK),
    "flipped: leaves filling": (flip(TREE["leaves filling"]), OTHER_BLOCK),
    "flipped: slots magic": (flip(slots), Refusal(FormatError, "key slots begin with")),
    "flipped: slots version": (
        flip(lambda r: slots(r) + 16),
        Refusal(FormatError, "key slots of version 0; this program reads 1"),
    ),
    "flipped: slots json length": (flip(lambda r: slots(r) + 20), NOT_CANONICAL),
    "flipped: slots json": (flip(lambda r: slots(r) + 24), NOT_CANONICAL),
    "flipped: slots padding": (flip(lambda r: len(r.data) - 1), NOT_ZERO),
}
TRUNCATED: dict[str, tuple[Change, Refusal]] = {
    "cut: empty": (cut(lambda r: 0), Refusal(FormatError, "not a sealed model")),
    "cut: in the magic": (cut(lambda r: 10), Refusal(FormatError, "not a sealed model")),
    "cut: before the json": (cut(lambda r: 24), CUT),
    "cut: in the json": (cut(lambda r: 40), CUT),
    "cut: in the header padding": (cut(lambda r: len(r.front) - 1), CUT),
    "cut: before the message": (cut(message), CUT),
    "cut: before the chunks": (cut(first_chunk), CUT),
    "cut: behind a chunk": (cut(lambda r: first_chunk(r) + SEALED_CHUNK), CUT),
    "cut: in the last tag": (cut(lambda r: message_end(r) - 1), CUT),
    "cut: before the message padding": (cut(message_end), CUT),
    "cut: before the tree": (cut(tree), CUT),
    "cut: in the superblock": (cut(lambda r: tree(r) + 100), CUT),
    "cut: before the leaves": (cut(lambda r: tree(r) + 2 * PAGE), CUT),
    "cut: one byte before the slots": (cut(lambda r: slots(r) - 1), CUT),
    "cut: before the slots": (cut(slots), CUT),
    "cut: in the slots' head": (
        cut(lambda r: slots(r) + 10),
        Refusal(FormatError, "key slots begin with"),
    ),
    "cut: behind the slots' magic": (
        cut(lambda r: slots(r) + 16),
        Refusal(FormatError, "key slots begin with"),
    ),
    "cut: in the slots' length": (
        cut(lambda r: slots(r) + 23),
        Refusal(FormatError, "key slots begin with"),
    ),
    "cut: in the slots": (cut(lambda r: slots(r) + 30), SLOTS_CUT),
    "cut: the last byte": (cut(lambda r: len(r.data) - 1), SLOTS_CUT),
}
EXTENDED: dict[str, tuple[Change, Refusal]] = {
    "behind: one byte": (append(b"\0"), SLOTS_CUT),
    "behind: a page of zeros": (append(bytes(PAGE)), SLOTS_CUT),
    "behind: slots again": (append(NO_SLOTS), SLOTS_CUT),
    "behind: 256 KiB": (append(bytes(256 * 1024)), Refusal(FormatError, "at most 262144")),
    "between: a byte before the message": (insert(message, b"\0"), OTHER_SUPERBLOCK),
    "between: a page in the message": (insert(first_chunk, bytes(PAGE)), OTHER_SUPERBLOCK),
    "between: a page before the tree": (insert(tree, bytes(PAGE)), OTHER_SUPERBLOCK),
    "between: a page before the slots": (
        insert(slots, bytes(PAGE)),
        Refusal(FormatError, "key slots begin with"),
    ),
}
MOVED: dict[str, tuple[Change, Refusal]] = {
    "moved: two chunks": (swap(first_chunk, SEALED_CHUNK), OTHER_BLOCK),
    "moved: two pages": (swap(first_chunk, PAGE), OTHER_BLOCK),
    "moved: two blocks of leaves": (swap(lambda r: tree(r) + 2 * PAGE, PAGE), OTHER_BLOCK),
    "moved: slots before the tree": (
        lambda r: r.covered + r.slots + r.tree,
        OTHER_SUPERBLOCK,
    ),
    "moved: message and tree": (
        lambda r: r.front + r.tree + r.message + r.padding + r.slots,
        OTHER_SUPERBLOCK,
    ),
    "removed: a chunk": (remove(first_chunk, SEALED_CHUNK), CUT),
    "removed: a page of the tree": (remove(lambda r: tree(r) + PAGE, PAGE), OTHER_ROOT),
    "removed: the superblock": (remove(tree, PAGE), OTHER_SUPERBLOCK),
    "removed: the header": (lambda r: r.data[len(r.front) :], Refusal(FormatError, "not a sealed")),
}
ATTACKS = {**FLIPPED, **TRUNCATED, **EXTENDED, **MOVED}


def test_no_place_was_forgotten():
    flips = {name.removeprefix("flipped: ") for name in FLIPPED}
    assert {*COVERED, *TREE, *SUPERBLOCK} <= flips


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The regions of a sealed classifier, and its root."""
    path = tmp_path_factory.mktemp("honest") / "net.sealed"
    model = seal_model(classifier(), path)
    return Regions.of(path.read_bytes()), model.root


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """Another model, sealed with the same key."""
    path = tmp_path_factory.mktemp("another") / "other.sealed"
    model = seal_model(classifier(seed=7), path, name="other")
    return Regions.of(path.read_bytes()), model.root


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_file_is_refused(attack, honest, tmp_path, capsys):
    regions, root = honest
    change, wanted = ATTACKS[attack]
    path = tmp_path / "changed.sealed"
    path.write_bytes(change(regions))
    assert_opening_refused(path, root, raw_key(), wanted)
    assert_unseal_refused(path, root, wanted, capsys)
    assert_verify_refused(path, root, capsys)


def with_header(r: Regions, **members: object) -> Regions:
    """The same file under a header with other members."""
    header = msgspec.structs.replace(layout.decode_header(r.front), **members)
    front = layout.encode_header(header)
    return replace(r, front=front)


def edited(r: Regions, place: Callable[[Regions], int]) -> Regions:
    data = flipped(r.data, place)
    p, end, v = len(r.front), message_end(r), tree(r)
    return Regions(data[:p], data[p:end], data[end:v], r.tree, r.slots)


def without_last_chunk(r: Regions) -> Regions:
    """Cut at the border of a chunk, header and padding put right."""
    whole = (len(r.message) - 56) // SEALED_CHUNK * SEALED_CHUNK + 56
    shorter = with_header(r, payload_size=whole - 1)
    return padded(replace(shorter, message=r.message[: whole - 1]))


def with_chunk(r: Regions) -> Regions:
    """The first chunk twice."""
    chunk = r.message[56 : 56 + SEALED_CHUNK]
    message = r.message[:56] + chunk + r.message[56:]
    return padded(replace(with_header(r, payload_size=len(message)), message=message))


def padded(r: Regions) -> Regions:
    return replace(r, padding=bytes(-(len(r.front) + len(r.message)) % PAGE))


def with_chunks_swapped(r: Regions) -> Regions:
    body = r.message[56:]
    one, other = body[:SEALED_CHUNK], body[SEALED_CHUNK : 2 * SEALED_CHUNK]
    return replace(r, message=r.message[:56] + other + one + body[2 * SEALED_CHUNK :])


REGROWN: dict[str, tuple[Callable[[Regions, Regions], Regions], Refusal]] = {
    "header padding": (lambda r, _: edited(r, HEADER["header padding end"]), NOT_ZERO),
    "message padding begin": (lambda r, _: edited(r, PADDING["message padding begin"]), NOT_ZERO),
    "message padding end": (lambda r, _: edited(r, PADDING["message padding end"]), NOT_ZERO),
    "another name": (lambda r, _: with_header(r, name="mine"), NO_COMMITMENT),
    "another version": (lambda r, _: with_header(r, version="2"), NO_COMMITMENT),
    "another time": (lambda r, _: with_header(r, created="2020-01-01T00:00:00Z"), NO_COMMITMENT),
    "rows independent": (lambda r, _: with_header(r, batch_independent=True), NO_COMMITMENT),
    "another key id": (
        lambda r, _: with_header(r, key_id="0123456789abcdef"),
        Refusal(IntegrityError, "the file was sealed with 0123456789abcdef"),
    ),
    "header of another model": (lambda r, other: replace(r, front=other.front), NO_COMMITMENT),
    "salt": (lambda r, _: edited(r, MESSAGE["salt"]), NO_COMMITMENT),
    "commitment": (lambda r, _: edited(r, MESSAGE["commitment end"]), NO_COMMITMENT),
    "first chunk": (lambda r, _: edited(r, MESSAGE["first chunk"]), NOT_AUTHENTIC),
    "first tag": (lambda r, _: edited(r, MESSAGE["first tag"]), NOT_AUTHENTIC),
    "middle": (lambda r, _: edited(r, MESSAGE["middle"]), NOT_AUTHENTIC),
    "last tag": (lambda r, _: edited(r, MESSAGE["last tag end"]), NOT_AUTHENTIC),
    "chunks swapped": (lambda r, _: with_chunks_swapped(r), NOT_AUTHENTIC),
    "chunks of another model": (
        lambda r, other: replace(r, message=r.message[:56] + other.message[56:]),
        NOT_AUTHENTIC,
    ),
    "last chunk gone": (lambda r, _: without_last_chunk(r), NO_COMMITMENT),
    "first chunk twice": (lambda r, _: with_chunk(r), NO_COMMITMENT),
}


@pytest.mark.parametrize("attack", REGROWN)
def test_an_honest_tree_over_other_bytes_does_not_help(attack, honest, another, tmp_path, capsys):
    change, wanted = REGROWN[attack]
    data, root = change(honest[0], another[0]).with_honest_tree()
    path = tmp_path / "regrown.sealed"
    path.write_bytes(data)
    assert_opening_refused(path, root, raw_key(), wanted)
    assert_unseal_refused(path, root, wanted, capsys)
    assert_verify_refused(path, honest[1], capsys)


@pytest.mark.parametrize("filling", ["top block", "leaves"])
def test_a_tree_that_is_not_filled_with_zeros_is_refused_under_its_own_root(
    filling, honest, tmp_path
):
    regions = honest[0]
    superblock, top = regions.tree[:PAGE], regions.tree[PAGE : 2 * PAGE]
    leaves = regions.tree[2 * PAGE :]
    if filling == "leaves":
        leaves = leaves[:-1] + b"\1"
        digests = [node(leaves[i : i + PAGE]) for i in range(0, len(leaves), PAGE)]
        top = b"".join(digests).ljust(PAGE, b"\0")
    else:
        top = top[:-1] + b"\1"
    path, root = tmp_path / "filled.sealed", node(top)
    path.write_bytes(replace(regions, tree=superblock + top + leaves).data)
    assert not models_verity.accepts(path, root, len(regions.covered))
    assert_opening_refused(path, root, raw_key(), NOT_FILLED)


def node(block: bytes) -> bytes:
    return sha256(bytes(32) + block).digest()


def test_another_model_is_not_this_one(another, honest, tmp_path, capsys):
    path = tmp_path / "other.sealed"
    path.write_bytes(another[0].data)
    assert_opening_refused(path, honest[1], raw_key(), OTHER_ROOT)
    assert_unseal_refused(path, honest[1], OTHER_ROOT, capsys)
    assert_verify_refused(path, honest[1], capsys)


def test_another_key_is_refused_by_its_id(honest, tmp_path):
    path = tmp_path / "net.sealed"
    path.write_bytes(honest[0].data)
    wrong = Refusal(IntegrityError, "this key is")
    assert_opening_refused(path, honest[1], RawKey(bytes(32)), wrong)


def test_a_key_with_the_right_id_still_meets_the_commitment(tmp_path, monkeypatch):
    """Only the commitment is left to refuse a key whose id was forged into the header."""
    from sealserve.models import key as key_module

    path = tmp_path / "net.sealed"
    model = seal_model(small(), path)
    monkeypatch.setattr(key_module, "key_id", lambda key: model.key_id)
    assert_opening_refused(path, model.root, RawKey(bytes(32)), NO_COMMITMENT)


class Counting(RawKey):
    """The right key, and how often somebody asked for it."""

    asked = 0

    def unwrap(self, slots, root, header_sha256):
        self.asked += 1
        return super().unwrap(slots, root, header_sha256)


FIRST_LOOKED_AT = {**HEADER, **PADDING, **SUPERBLOCK, **TREE} | {
    name: MESSAGE[name] for name in ("salt", "commitment end", "last tag begin", "last tag end")
}


@pytest.mark.parametrize("place", FIRST_LOOKED_AT)
def test_nobody_is_asked_for_the_key_of_another_file(place, honest, tmp_path):
    """A vault has its costs: header, tree, last page and slots come first."""
    path, opener = tmp_path / "net.sealed", Counting(KEY)
    path.write_bytes(flipped(honest[0].data, FIRST_LOOKED_AT[place]))
    with pytest.raises((FormatError, IntegrityError)):
        open_model(path, honest[1], opener, FolderPlace(tmp_path / "none"))
    assert opener.asked == 0


def test_the_key_is_asked_for_once_before_the_bulk_is_read(honest, tmp_path):
    path, opener = tmp_path / "net.sealed", Counting(KEY)
    path.write_bytes(flipped(honest[0].data, MESSAGE["middle"]))
    assert_opening_refused(path, honest[1], opener, OTHER_BLOCK)
    assert opener.asked == 2  # it was opened in two ways


def test_whoever_keeps_the_error_keeps_no_plaintext(honest, tmp_path):
    """A traceback holds on to what was opened until then: it is wiped already."""
    path = tmp_path / "net.sealed"
    path.write_bytes(flipped(honest[0].data, MESSAGE["middle"]))
    (tmp_path / "place").mkdir()
    with pytest.raises(IntegrityError) as caught:
        open_model(path, honest[1], raw_key(), FolderPlace(tmp_path / "place"))
    held = ChainMap(*(dict(entry.frame.f_locals) for entry in caught.traceback[1:]))
    assert held["graph"].wiped
    assert held["key"].wiped


CONTEXTS = {
    "another label": lambda context: context.replace(b"model/v1", b"model/v2"),
    "another header": lambda context: context[:-32] + bytes(32),
    "the label alone": lambda context: context[:-32],
    "none": lambda context: b"",
}


@pytest.mark.parametrize("change", CONTEXTS.values(), ids=CONTEXTS)
def test_a_message_of_another_context_is_refused(change, tmp_path, capsys):
    """The right key in another program's hands, or in ours for another file."""
    plain = archive_of(honest_contents())

    def encrypt(context: bytes) -> bytes:
        encryptor = Cobblestone256Encryptor(KEY, change(context))
        return encryptor.update(plain) + encryptor.finalize()

    root = file_around(tmp_path / "net.sealed", len(plain), encrypt)
    assert_opening_refused(tmp_path / "net.sealed", root, raw_key(), NO_COMMITMENT)
    assert_unseal_refused(tmp_path / "net.sealed", root, NO_COMMITMENT, capsys)


NOT_FILES = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link that leads nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("make", NOT_FILES.values(), ids=NOT_FILES)
@pytest.mark.parametrize("verb", ["inspect", "verify", "unseal", "rewrap"])
def test_what_is_no_file_cannot_be_read(verb, make, tmp_path, capsys):
    path, key = tmp_path / "net.sealed", tmp_path / "raw.key"
    key.write_bytes(KEY)
    make(path)
    options = {
        "inspect": [],
        "verify": ["--root", "00" * 32],
        "unseal": ["-o", str(tmp_path / "out"), "--key", f"raw:{key}"],
        "rewrap": ["--from", f"raw:{key}", "--key", f"raw:{key}"],
    }
    assert run([verb, str(path), *options[verb]]) == 8
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
