"""Programs we did not write agree with us: veritysetup, cryptography, unzip, and a plain reader."""

from __future__ import annotations

import subprocess
import zipfile
from hashlib import sha256

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor

from sealserve.models import RawKey, inspect, open_model, unseal, verify
from sealserve.models import format as layout
from sealserve.native.errors import FormatError, IntegrityError
from support import models_verity
from support.models_onnx import classifier, small
from support.models_places import COVERED, SUPERBLOCK_FIELDS, TREE, flipped
from support.models_plain_reader import read
from support.models_sealed import (
    KEY,
    PAGE,
    FolderPlace,
    Regions,
    archive_of,
    file_around,
    honest_contents,
    seal_archive,
    seal_model,
    superblock,
)

# Sizes of archives whose messages and trees have edges in interesting places.
PLAIN_BYTES = [16384 * 2 - 1, 16384 * 2, 16384 * 2 + 1, 124 * 4096, 126 * 4096, 130 * 4096]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A sealed classifier: some 280 pages, a tree of two levels."""
    path = tmp_path_factory.mktemp("sealed") / "net.sealed"
    return path, seal_model(classifier(), path)


@pytest.fixture(scope="module")
def plain(sealed):
    """The archive inside, as cryptography opens it."""
    path, model = sealed
    message, context = message_of(path)
    assert len(message) == model.payload_size
    decryptor = Cobblestone256Decryptor(KEY, context)
    return decryptor.update(message) + decryptor.finalize()


def message_of(path):
    regions = Regions.of(path.read_bytes())
    return regions.message, layout.CONTEXT + sha256(regions.front).digest()


def grown_to(plain_bytes: int) -> bytes:
    """An honest archive of exactly this size, the last entry taking what is left."""
    contents = honest_contents()
    contents["labels.txt"] = bytes(plain_bytes - len(archive_of({**contents, "labels.txt": b""})))
    plain = archive_of(contents)
    assert len(plain) == plain_bytes
    return plain


@pytest.mark.parametrize("make", [small, classifier], ids=["one level", "two levels"])
def test_veritysetup_accepts_and_grows_the_same_tree(make, tmp_path):
    path = tmp_path / "net.sealed"
    model = seal_model(make(), path)
    assert models_verity.accepts(path, model.root, model.hash_offset)
    regions = Regions.of(path.read_bytes())
    assert len(regions.covered) == model.hash_offset
    (tmp_path / "data").write_bytes(regions.covered)
    root, tree = models_verity.format_tree(tmp_path / "data", tmp_path / "tree")
    assert root == model.root
    assert tree == regions.tree


@pytest.mark.parametrize("size", PLAIN_BYTES)
def test_everybody_accepts_every_length(size, tmp_path):
    path = tmp_path / "net.sealed"
    archive = grown_to(size)
    model = seal_archive(path, archive)
    assert models_verity.accepts(path, model.root, model.hash_offset)
    assert verify(path, model.root) == model
    again = read(path.read_bytes(), KEY)
    assert (again.root, again.v, again.archive) == (model.root, model.hash_offset, archive)
    unseal(path, tmp_path / "out", RawKey(KEY))
    assert (tmp_path / "out/labels.txt").read_bytes() == again.entries["labels.txt"]


@pytest.mark.parametrize("place", [*COVERED, *TREE])
def test_veritysetup_and_we_refuse_the_same_change(place, sealed, tmp_path):
    path, model = sealed
    changed = tmp_path / "changed.sealed"
    changed.write_bytes(flipped(path.read_bytes(), {**COVERED, **TREE}[place]))
    assert not models_verity.accepts(changed, model.root, model.hash_offset)
    with pytest.raises(IntegrityError):
        verify(changed, model.root)


@pytest.mark.parametrize("field", SUPERBLOCK_FIELDS)
def test_we_refuse_every_change_of_the_superblock(field, sealed, tmp_path):
    """veritysetup reads its superblock and ignores parts of it; we compare every byte."""
    path, model = sealed
    data = bytearray(path.read_bytes())
    data[model.hash_offset + SUPERBLOCK_FIELDS[field]] ^= 1
    changed = tmp_path / "changed.sealed"
    changed.write_bytes(data)
    with pytest.raises(IntegrityError, match="superblock"):
        verify(changed, model.root)
    with pytest.raises(FormatError, match="superblock"):
        inspect(changed)
    with pytest.raises(FormatError, match="superblock"):
        open_model(changed, model.root, RawKey(KEY), FolderPlace(tmp_path / "none"))


def shortened(regions: Regions) -> tuple[bytes, int]:
    """A file whose tree is the top of ours and whose data are the blocks below the top."""
    top, leaves = regions.tree[PAGE : 2 * PAGE], regions.tree[2 * PAGE :]
    tree = superblock(len(leaves) // PAGE) + top
    return leaves + tree + regions.slots, len(leaves)


def test_a_shortened_tree_has_the_root_and_is_refused(sealed, tmp_path):
    path, model = sealed
    data, hash_offset = shortened(Regions.of(path.read_bytes()))
    cut = tmp_path / "shortened-tree.sealed"
    cut.write_bytes(data)
    assert models_verity.accepts(cut, model.root, hash_offset)
    with pytest.raises(IntegrityError, match="not the sealed model"):
        verify(cut, model.root)
    with pytest.raises(FormatError, match="not a sealed model"):
        inspect(cut)
    with pytest.raises(FormatError, match="not a sealed model"):
        open_model(cut, model.root, RawKey(KEY), FolderPlace(tmp_path / "none"))


def test_cryptography_opens_our_message(plain):
    assert plain[:4] == b"PK\3\4"


@pytest.mark.parametrize("size", PLAIN_BYTES)
def test_we_open_what_cryptography_sealed(size, tmp_path):
    archive = grown_to(size)
    path = tmp_path / "theirs.sealed"

    def encrypt(context: bytes) -> bytes:
        encryptor = Cobblestone256Encryptor(KEY, context)
        return encryptor.update(archive) + encryptor.finalize()

    root = file_around(path, len(archive), encrypt)
    verify(path, root)
    unseal(path, tmp_path / "out", RawKey(KEY), root=root)
    contents = read(path.read_bytes(), KEY).entries
    for name, data in contents.items():
        assert (tmp_path / "out" / name).read_bytes() == data


def test_unzip_and_zipfile_accept_the_archive(plain, tmp_path):
    path = tmp_path / "net.zip"
    path.write_bytes(plain)
    ran = subprocess.run(["unzip", "-t", path], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No errors detected" in ran.stdout
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        listed = archive.infolist()
    assert [item.filename for item in listed] == [
        "model.onnx",
        "manifest.json",
        "weights/00000",
        "weights/small",
    ]
    assert all(item.compress_type == zipfile.ZIP_STORED for item in listed)
    assert all(item.date_time == (1980, 1, 1, 0, 0, 0) for item in listed)


def test_every_entry_begins_on_a_page(plain, tmp_path):
    from sealserve.models.archive import END_BYTES, decode_directory, decode_end

    end = decode_end(plain[-END_BYTES:], len(plain))
    records = plain[end.directory_offset : end.directory_offset + end.directory_bytes]
    for item in decode_directory(records, end):
        assert item.data % PAGE == 0


def test_unzip_gives_back_what_unseal_gives(plain, sealed, tmp_path):
    path, _ = sealed
    (tmp_path / "net.zip").write_bytes(plain)
    subprocess.run(["unzip", "-q", tmp_path / "net.zip", "-d", tmp_path / "zip"], check=True)
    unseal(path, tmp_path / "out", RawKey(KEY))
    names = [p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert len(names) == 4
    for name in names:
        assert (tmp_path / "zip" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_openssl_derives_the_same_key_id(sealed):
    """The command of SPEC.md section 10."""
    options = ["digest:SHA256", f"hexkey:{KEY.hex()}", "info:sealserve/key-id/v1"]
    flags = [part for option in options for part in ("-kdfopt", option)]
    command = ["openssl", "kdf", "-keylen", "8", *flags, "HKDF"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip().replace(":", "").lower() == sealed[1].key_id


def test_the_header_and_the_slots_are_readable_with_head_and_tail(sealed):
    """The commands of SPEC.md section 10."""
    path, _ = sealed
    data = path.read_bytes()
    length = int.from_bytes(data[20:24], "little")
    shell = f"tail -c +25 {path} | head -c {length} | jq -r .name"
    assert subprocess.check_output(shell, shell=True, text=True) == "net\n"
    k = len(data) - len(Regions.of(data).slots)
    length = int.from_bytes(data[k + 20 : k + 24], "little")
    shell = f"tail -c +$(({k}+25)) {path} | head -c {length}"
    assert subprocess.check_output(shell, shell=True, text=True) == '{"slots":[]}'


def test_the_plain_reader_reads_a_model_with_slots(tmp_path):
    from sealserve.keys import new_identity

    me = new_identity(tmp_path / "me")
    path = tmp_path / "net.sealed"
    model = seal_model(small(), path, keys=[me.recipient, RawKey(KEY)])
    found = read(path.read_bytes(), KEY)
    assert found.root == model.root
    assert found.header["key_id"] == model.key_id
    assert [slot["recipient"] for slot in found.slots] == [me.recipient.id]
    assert list(found.entries) == ["model.onnx", "manifest.json"]
