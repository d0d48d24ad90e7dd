"""Where numbers no longer fit: texts beyond 256 MiB, blocks of 2^32 bits, files beyond 4 GiB."""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealserve.native.cobblestone import HEADER_BYTES, Message, sealed_size
from sealserve.native.crypto import kernels
from sealserve.native.destination import Destination
from sealserve.native.errors import IntegrityError
from sealserve.native.load import load
from sealserve.native.ranges import Ranges
from sealserve.native.verity import TreeBuilder, TrustedTree
from support import models_verity
from support.native_loading import MARGIN, Landing, memory_file

pytestmark = pytest.mark.long

KEY, NONCE, CONTEXT = bytes(range(32)), bytes(range(12)), b"large"
VARIABLES = {"gcm": "SEALSERVE_GCM", "sha256": "SEALSERVE_SHA256"}
MIB = 1 << 20
UNIT, PAGE = 4 * MIB, 4096
# Behind 2^24 counters a third byte of the counter wraps. libcrypto takes slices of 1 GiB from us.
SIZES = [256 * MIB - 17, 256 * MIB + 4097, 1024 * MIB + 33]
BLOCK = 512 * MIB  # with the salt more than 2^32 bits
SEAL_AND_OPEN = """
import hashlib, mmap, sys
from sealserve.native.crypto import gcm_open, gcm_seal
key, nonce, size = bytes(range(32)), bytes(range(12)), int(sys.argv[2])
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as text:
    sealed = gcm_seal(key, nonce, text)
    print(hashlib.sha256(sealed).hexdigest(), gcm_open(key, nonce, sealed) == text[:])
"""
HASH = """
import mmap, sys
from sealserve.native.crypto import sha256_blocks
size = int(sys.argv[1])
with mmap.mmap(-1, 7 * size) as zeros:  # read only, so all of it is one page of memory
    print(sha256_blocks(bytes(32), zeros, size).hex())
"""


def answer(family: str, kernel: str, code: str, *arguments: str) -> list[str]:
    """Of a process of its own, because a kernel is chosen once."""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, VARIABLES[family]: kernel, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "text"
    with path.open("wb") as file:
        for done in range(0, SIZES[-1], 64 * MIB):
            file.write(os.urandom(min(64 * MIB, SIZES[-1] - done)))
    return path


@pytest.fixture(scope="module")
def wanted(text: Path) -> Callable[[int], str]:
    """What OpenSSL, as pyca ships it, makes of so much of the text."""

    def digest(size: int) -> str:
        with text.open("rb") as file:
            sealed = AESGCM(KEY).encrypt(NONCE, file.read(size), None)
        return hashlib.sha256(sealed).hexdigest()

    seen = {size: digest(size) for size in SIZES}
    return seen.__getitem__


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", kernels()["gcm"])
def test_gcm_of_a_large_text(
    text: Path, wanted: Callable[[int], str], kernel: str, size: int
) -> None:
    assert answer("gcm", kernel, SEAL_AND_OPEN, str(text), str(size)) == [wanted(size), "True"]


@pytest.mark.parametrize("kernel", kernels()["sha256"])
def test_sha256_of_large_blocks(kernel: str) -> None:
    """Seven, because from there on the widest kernel takes them."""
    with mmap.mmap(-1, BLOCK) as zeros:
        digest = hashlib.sha256(bytes(32))
        digest.update(zeros)
    assert answer("sha256", kernel, HASH, str(BLOCK)) == [7 * digest.hexdigest()]


def test_a_tree_of_four_levels_is_the_one_of_veritysetup(tmp_path: Path) -> None:
    """One block more than 8 GiB, nearly all of it a hole."""
    size = 128**3 * PAGE + PAGE
    builder = TreeBuilder()
    with (tmp_path / "data").open("w+b") as file:
        file.truncate(size)
        for at in (1, size // 2, size - 1):
            os.pwrite(file.fileno(), b"x", at)
        for at in range(0, size, 64 * MIB):
            builder.update(os.pread(file.fileno(), 64 * MIB, at))
    tree = builder.finish()
    assert (tree.root, tree.area) == models_verity.format_tree(tmp_path / "data", tmp_path / "tree")
    TrustedTree.load(tree.area, size, tree.root)


# ---- a file larger than 4 GiB

UNITS = 1028
TAIL = 12345
PLAIN = UNITS * UNIT + TAIL
PIECES = [
    *((edge - 9, 30) for edge in (UNIT, 2048 * MIB, 4096 * MIB, UNITS * UNIT)),
    (4096 * MIB + 1, 3 * UNIT),
    (PLAIN - 1, 1),
]
FILLING = os.urandom(UNIT - 8)


@dataclass(frozen=True)
class Large:
    """A page of header, then one message. `file` is open for reading and writing."""

    file: int
    size: int
    message: Message
    tree: TrustedTree

    def layout(self) -> dict[str, int]:
        return {
            "payload_offset": PAGE - HEADER_BYTES,
            "payload_bytes": sealed_size(PLAIN),
            "data_bytes": self.size,
        }

    def load(self, *destinations: Destination) -> None:
        given = {**self.layout(), "tree": self.tree, "message": self.message}
        load(self.file, **given, destinations=destinations)


def plain_unit(number: int) -> bytes:
    """Each begins with its number, so that none is taken for another."""
    whole = number.to_bytes(8, "little") + FILLING
    return whole if number < UNITS else whole[:TAIL]


def plain(start: int, size: int) -> bytes:
    first, last = start // UNIT, (start + size) // UNIT
    text = b"".join(map(plain_unit, range(first, last + 1)))
    return text[start - first * UNIT :][:size]


def parts(message: Message) -> Iterator[bytes]:
    yield bytes(PAGE - HEADER_BYTES) + message.header
    written = 0
    for number in range(UNITS + 1):
        text = plain_unit(number)
        out = bytearray(len(text) + 16 * 257)
        size = message.seal_into(number * 256, text, out, last=number == UNITS)
        yield bytes(out[:size])
        written += size
    yield bytes(-written % PAGE)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    builder, message = TreeBuilder(), Message.new(KEY, CONTEXT)
    with (tmp_path_factory.mktemp("large") / "sealed").open("w+b") as file:
        for part in parts(message):
            file.write(part)
            builder.update(part)
        file.flush()
        made = builder.finish()
        tree = TrustedTree.load(made.area, file.tell(), made.root)
        yield Large(file.fileno(), file.tell(), message, tree)


def test_pieces_of_a_large_file_into_buffers(large: Large) -> None:
    landings = [Landing(size, start) for start, size in PIECES]
    large.load(*(landing.destination for landing in landings))
    assert [landing.landed for landing in landings] == [plain(*piece) for piece in PIECES]


def test_pieces_of_a_large_file_far_into_another(large: Large) -> None:
    far = (1 << 32) + 5
    with ExitStack() as stack:
        files = [stack.enter_context(memory_file()) for _ in PIECES]
        large.load(
            *(
                Destination(start, size, fd=fd, offset=far)
                for fd, (start, size) in zip(files, PIECES, strict=True)
            )
        )
        for fd, (start, size) in zip(files, PIECES, strict=True):
            assert os.fstat(fd).st_size == far + size
            assert os.pread(fd, size, far) == plain(start, size)


def test_pieces_of_a_large_file_as_ranges(large: Large) -> None:
    ranges = Ranges(large.file, **large.layout(), tree=large.tree, message=large.message)
    for start, size in PIECES:
        landing = Landing(size)
        ranges.read_into(start, memoryview(landing.memory)[MARGIN : MARGIN + size])
        assert landing.landed == plain(start, size)


def test_a_flipped_byte_behind_4_gib(large: Large) -> None:
    at = large.size - PAGE
    byte = os.pread(large.file, 1, at)
    os.pwrite(large.file, bytes([byte[0] ^ 1]), at)
    landing = Landing(1000)
    with pytest.raises(IntegrityError, match=f"block {at // PAGE} is not the one"):
        large.load(landing.destination)
    os.pwrite(large.file, byte, at)
    assert not any(landing.landed)
