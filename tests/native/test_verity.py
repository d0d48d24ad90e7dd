"""The hash tree against veritysetup, byte for byte, and against every altered byte."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealserve.native import reference, verity
from sealserve.native.errors import FormatError, IntegrityError

BLOCK = 4096
NO_UUID = "00000000-0000-0000-0000-000000000000"


def veritysetup(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("veritysetup", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, "veritysetup is missing: apt-get install cryptsetup-bin"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def build(backend: Any, data: bytes) -> Any:
    builder = backend.TreeBuilder()
    builder.update(data)
    return builder.finish()


@pytest.mark.parametrize("blocks", [1, 2, 127, 128, 129, 16384, 16385])
def test_same_bytes_as_veritysetup(backend: Any, tmp_path: Path, blocks: int) -> None:
    data = os.urandom(blocks * BLOCK)
    (tmp_path / "data").write_bytes(data)
    done = veritysetup(
        "format", "--salt", "00" * 32, "--uuid", NO_UUID, tmp_path / "data", tmp_path / "tree"
    )
    root = done.stdout.split("Root hash:")[1].split()[0]
    area = (tmp_path / "tree").read_bytes()
    tree = build(backend, data)
    assert tree.root.hex() == root
    assert tree.area == area
    assert backend.tree_size(len(data)) == len(area)
    trusted = backend.TrustedTree.load(area, len(data), tree.root)
    assert (trusted.root, trusted.data_bytes) == (tree.root, len(data))
    trusted.check(0, data)
    if blocks > 1:
        assert backend.root_of(area, len(data)) == tree.root


def test_veritysetup_agrees_on_good_and_bad(tmp_path: Path) -> None:
    data = bytearray(os.urandom(130 * BLOCK))
    tree = build(verity, data)
    (tmp_path / "tree").write_bytes(tree.area)
    trusted = verity.TrustedTree.load(tree.area, len(data), tree.root)
    (tmp_path / "data").write_bytes(data)
    verify = ("verify", tmp_path / "data", tmp_path / "tree", tree.root.hex())
    assert veritysetup(*verify).returncode == 0
    data[77 * BLOCK] ^= 1
    (tmp_path / "data").write_bytes(data)
    assert veritysetup(*verify).returncode != 0
    with pytest.raises(IntegrityError, match="block 77 "):
        trusted.check(0, data)


# ---- building


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 5 * BLOCK), max_size=8))
def test_pieces_of_any_length_give_the_same_tree(cuts: list[int]) -> None:
    data = bytes(i % 251 for i in range(5 * BLOCK))
    edges = [0, *sorted(cuts), len(data)]
    builder = verity.TreeBuilder()
    for start, end in itertools.pairwise(edges):
        builder.update(data[start:end])
    assert builder.finish() == build(reference, data)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK + 1])
def test_a_tree_covers_whole_blocks(backend: Any, size: int) -> None:
    builder = backend.TreeBuilder()
    builder.update(bytes(size))
    with pytest.raises(ValueError, match="block"):
        builder.finish()
    builder.update(bytes(BLOCK - size % BLOCK))  # the builder is as it was
    assert builder.finish() == build(backend, bytes(size + BLOCK - size % BLOCK))


def test_a_finished_tree_takes_no_more(backend: Any) -> None:
    builder = backend.TreeBuilder()
    builder.update(bytes(BLOCK))
    builder.finish()
    with pytest.raises(ValueError, match="finished"):
        builder.update(b"")
    with pytest.raises(ValueError, match="finished"):
        builder.finish()


@given(st.integers(1, 1 << 40))
def test_sizes_agree_with_the_twin(blocks: int) -> None:
    assert verity.tree_size(blocks * BLOCK) == reference.tree_size(blocks * BLOCK)


@pytest.mark.parametrize(
    "size", [-BLOCK, -1, 0, 1, 4095, 4097, (1 << 52) + BLOCK, 1 << 64, 1 << 99]
)
def test_sizes_no_tree_covers(backend: Any, size: int) -> None:
    for question in (
        lambda: backend.tree_size(size),
        lambda: backend.root_of(bytes(BLOCK), size),
        lambda: backend.TrustedTree.load(bytes(BLOCK), size, bytes(32)),
    ):
        with pytest.raises(ValueError, match="whole blocks"):
            question()


# ---- what a superblock may say

# cryptsetup lib/verity/verity.c, struct verity_sb: every field at its offset, with another value.
FIELDS = {
    "signature": (0, b"verify\0\0"),
    "version": (8, struct.pack("<I", 2)),
    "hash type": (12, struct.pack("<I", 0)),
    "uuid": (16, b"\1" * 16),
    "algorithm": (32, b"sha512".ljust(32, b"\0")),
    "data block size": (64, struct.pack("<I", 512)),
    "hash block size": (68, struct.pack("<I", 512)),
    "data blocks": (72, struct.pack("<Q", 128)),
    "salt size": (80, struct.pack("<H", 0)),
    "padding 1": (82, b"\1"),
    "salt": (88, b"\1"),
    "salt behind its size": (88 + 32, b"\1"),
    "padding 2": (344, b"\1"),
    "rest of the page": (512, b"\1"),
    "end of the page": (BLOCK - 1, b"\1"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_superblock_with_another_value(backend: Any, field: str) -> None:
    data = os.urandom(130 * BLOCK)
    tree = build(backend, data)
    offset, value = FIELDS[field]
    area = tree.area[:offset] + value + tree.area[offset + len(value) :]
    assert area != tree.area
    with pytest.raises(FormatError, match="superblock"):
        backend.root_of(area, len(data))
    with pytest.raises(IntegrityError, match="superblock"):
        backend.TrustedTree.load(area, len(data), tree.root)


@pytest.mark.parametrize("change", [-BLOCK, -1, 1, BLOCK])
def test_an_area_of_another_length(backend: Any, change: int) -> None:
    data = os.urandom(3 * BLOCK)
    tree = build(backend, data)
    area = (tree.area + bytes(BLOCK))[: len(tree.area) + change]
    with pytest.raises(FormatError, match="hash tree"):
        backend.root_of(area, len(data))
    with pytest.raises(IntegrityError, match="hash tree"):
        backend.TrustedTree.load(area, len(data), tree.root)


def test_the_tree_of_a_shorter_file(backend: Any) -> None:
    """The blocks of level 0 are data with the same root to whoever believes the superblock."""
    data = os.urandom(130 * BLOCK)
    tree = build(backend, data)
    leaves = tree.area[2 * BLOCK :]
    inner = build(backend, leaves)
    assert inner.root == tree.root
    with pytest.raises(IntegrityError):
        backend.TrustedTree.load(inner.area, len(data), tree.root)


def test_one_block_claims_no_root(backend: Any) -> None:
    data = os.urandom(BLOCK)
    tree = build(backend, data)
    assert tree.root == hashlib.sha256(bytes(32) + data).digest()
    with pytest.raises(FormatError, match="one block"):
        backend.root_of(tree.area, BLOCK)
    with pytest.raises(IntegrityError, match="block 0 "):
        backend.TrustedTree.load(tree.area, BLOCK, bytes(32)).check(0, data)


# ---- trust


def test_every_flipped_byte_of_the_tree(backend: Any) -> None:
    data = os.urandom(129 * BLOCK)  # two levels, both padded
    tree = build(backend, data)
    step = 1 if backend.__name__ == "native" else 37
    for at in range(0, len(tree.area), step):
        area = bytearray(tree.area)
        area[at] ^= 1
        with pytest.raises(IntegrityError):
            backend.TrustedTree.load(area, len(data), tree.root)


def test_another_root(backend: Any) -> None:
    data = os.urandom(3 * BLOCK)
    tree = build(backend, data)
    with pytest.raises(IntegrityError):
        backend.TrustedTree.load(tree.area, len(data), bytes(32))


def test_the_message_has_both_roots() -> None:
    data = os.urandom(3 * BLOCK)
    tree = build(verity, data)
    with pytest.raises(IntegrityError, match=f"root is {tree.root.hex()}; wanted {'00' * 32}"):
        verity.TrustedTree.load(tree.area, len(data), bytes(32))


@pytest.mark.parametrize("level", [0, 1])
def test_an_honest_tree_around_filling_that_is_not_zero(backend: Any, level: int) -> None:
    data = os.urandom(129 * BLOCK)
    area = bytearray(build(backend, data).area)
    area[-1 if level == 0 else 2 * BLOCK - 1] = 1
    for at in (3, 2):  # the digests of level 0 stand in the top block
        digest = hashlib.sha256(bytes(32) + area[at * BLOCK :][:BLOCK]).digest()
        area[BLOCK + (at - 2) * 32 :][:32] = digest
        area[BLOCK + (at - 2) * 32 : BLOCK + (at - 1) * 32] = digest
    root = hashlib.sha256(bytes(32) + area[BLOCK : 2 * BLOCK]).digest()
    with pytest.raises(IntegrityError):
        backend.TrustedTree.load(area, len(data), root)


def test_the_copy_is_private(backend: Any) -> None:
    data = os.urandom(3 * BLOCK)
    tree = build(backend, data)
    area = bytearray(tree.area)
    trusted = backend.TrustedTree.load(area, len(data), tree.root)
    area[:] = bytes(len(area))
    trusted.check(0, data)


@pytest.mark.parametrize("first", [0, 1, 127, 128, 199])
def test_ranges(backend: Any, first: int) -> None:
    data = os.urandom(200 * BLOCK)
    tree = build(backend, data)
    trusted = backend.TrustedTree.load(tree.area, len(data), tree.root)
    trusted.check(first * BLOCK, b"")
    for count in {1, 72, 200 - first} - {n for n in range(73) if first + n > 200}:
        piece = bytearray(data[first * BLOCK : (first + count) * BLOCK])
        trusted.check(first * BLOCK, piece)
        piece[-1] ^= 1
        with pytest.raises(IntegrityError, match=f"block {first + count - 1} "):
            trusted.check(first * BLOCK, piece)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(1, BLOCK), (-BLOCK, BLOCK), (0, 1), (0, 4 * BLOCK), (2 * BLOCK, 2 * BLOCK), (1 << 70, 0)],
)
def test_ranges_outside_or_beside_the_blocks(backend: Any, offset: int, size: int) -> None:
    data = os.urandom(3 * BLOCK)
    tree = build(backend, data)
    trusted = backend.TrustedTree.load(tree.area, len(data), tree.root)
    with pytest.raises(ValueError, match=r"not whole blocks|not inside"):
        trusted.check(offset, bytes(size))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_roots_of_other_lengths(backend: Any, size: int) -> None:
    tree = build(backend, bytes(2 * BLOCK))
    with pytest.raises(ValueError, match="root has"):
        backend.TrustedTree.load(tree.area, 2 * BLOCK, bytes(size))


def test_a_trusted_tree_comes_from_load_only(backend: Any) -> None:
    with pytest.raises(TypeError, match=r"TrustedTree\.load"):
        backend.TrustedTree()


def test_a_tree_made_behind_our_back_does_not_crash() -> None:
    with pytest.raises(ValueError, match="not inside"):
        verity.TrustedTree.__new__(verity.TrustedTree).check(0, bytes(BLOCK))
