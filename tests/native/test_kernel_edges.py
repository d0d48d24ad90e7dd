"""Kernels at every length, at every alignment and at the edge of mapped memory, against OpenSSL.

OpenSSL answers as pyca ships it, through the twin. What is long goes on at random: it prints its
seed, and SEALSERVE_SEED runs that one again.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import mmap
import os
import sys
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealserve.native import reference
from sealserve.native.cobblestone import Message
from sealserve.native.crypto import gcm_open, gcm_seal, sha256_blocks
from sealserve.native.errors import IntegrityError

KEY, NONCE = bytes(range(32)), bytes(range(12))
PAGE, CHUNK, TAG = mmap.PAGESIZE, 16384, 16
ROOM = 8 * PAGE
LARGE = 300_000
# A group is 512 bytes; beyond 255 counters the lowest byte wraps, beyond 65535 the next. The third
# one wraps in test_large.py.
LENGTHS = [*range(2101), 4095, 4096, 4097, 16383, 16384, 16385, 65536 * 16 - 33, 65536 * 16 + 7]
UNTOUCHED = 0xAA
MARGIN = 64
TEXT = Random(7).randbytes(max(LENGTHS))
libc = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Memory with a page behind and before it that nobody may touch."""

    def __init__(self, room: int = ROOM) -> None:
        self.map = mmap.mmap(-1, room + 2 * PAGE)
        self._hold = ctypes.c_char.from_buffer(self.map)
        start = ctypes.addressof(self._hold)
        for page in (start, start + PAGE + room):
            assert libc.mprotect(ctypes.c_void_p(page), PAGE, 0) == 0
        self.view = memoryview(self.map)[PAGE : PAGE + room]

    def at_the_end(self, size: int) -> memoryview:
        return self.view[len(self.view) - size :]

    def at_the_start(self, size: int) -> memoryview:
        return self.view[:size]

    def at(self, start: int, size: int) -> memoryview:
        """Behind a margin that shows whether somebody wrote there; so does one behind it."""
        self.view[: start + size + 2 * MARGIN] = bytes([UNTOUCHED]) * (start + size + 2 * MARGIN)
        return self.view[start + MARGIN :][:size]

    def untouched_around(self, start: int, size: int) -> bool:
        around = bytes(self.view[: start + MARGIN]) + bytes(self.view[start + MARGIN + size :])
        return around[: start + 2 * MARGIN] == bytes([UNTOUCHED]) * (start + 2 * MARGIN)


PLACES = ("at_the_start", "at_the_end")


@pytest.fixture(scope="module")
def guarded() -> tuple[Guarded, Guarded]:
    return Guarded(), Guarded()


class Peers:
    """One message, sealed by us and by OpenSSL."""

    def __init__(self) -> None:
        self.ours = Message.new(KEY, b"edges")
        self.theirs = reference.Message.of(KEY, self.ours.header, b"edges")

    def agree(self, first: int, text: bytes, plain: memoryview, sealed: memoryview) -> None:
        """On sealing `text`, from and into exactly this memory, and on opening it again."""
        plain[:] = text
        wanted = bytearray(len(sealed))
        self.theirs.seal_into(first, text, wanted, last=True)
        assert self.ours.seal_into(first, plain, sealed, last=True) == len(sealed)
        assert sealed == wanted
        plain[:] = bytes(len(text))
        assert self.ours.open_into(first, sealed, plain, last=True) == len(text)
        assert plain == text

    def refuse(self, first: int, plain: memoryview, sealed: memoryview, bit: int) -> None:
        """What they agreed on, with one bit flipped: nothing is left of the text."""
        sealed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            self.ours.open_into(first, sealed, plain, last=True)
        assert not any(plain)


def sealed_size(size: int) -> int:
    return size + TAG * (size // CHUNK + 1)


def test_every_length_agrees() -> None:
    peer = AESGCM(KEY)
    for size in LENGTHS:
        sealed = peer.encrypt(NONCE, TEXT[:size], None)
        assert gcm_seal(KEY, NONCE, TEXT[:size]) == sealed, size
        assert gcm_open(KEY, NONCE, sealed) == TEXT[:size], size


@pytest.mark.parametrize("source_place", PLACES)
@pytest.mark.parametrize("target_place", PLACES)
def test_nothing_beyond_the_text_is_touched(
    guarded: tuple[Guarded, Guarded], source_place: str, target_place: str
) -> None:
    peers, (source, target) = Peers(), guarded
    for size in [*range(2101), 4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 5, 20000]:
        plain = getattr(source, source_place)(size)
        sealed = getattr(target, target_place)(sealed_size(size))
        peers.agree(size, TEXT[:size], plain, sealed)
        peers.refuse(size, plain, sealed, size * 7 % (8 * len(sealed)))


def test_every_alignment_of_source_and_destination(guarded: tuple[Guarded, Guarded]) -> None:
    peers, (source, target), random = Peers(), guarded, Random(64)
    for here, there in itertools.product(range(64), range(64)):
        size = random.randrange(1100)
        plain, sealed = source.at(here, size), target.at(there, size + TAG)
        peers.agree(0, TEXT[here : here + size], plain, sealed)
        peers.refuse(0, plain, sealed, random.randrange(8 * len(sealed)))
        assert source.untouched_around(here, size), (here, there, size)
        assert target.untouched_around(there, size + TAG), (here, there, size)


def agree_on_large(random: Random, source: Guarded) -> None:
    """One text of any length up to 300 kB, at the end of memory or anywhere."""
    size = random.randrange(LARGE)
    start = random.choice([0, LARGE - size, random.randrange(LARGE - size + 1)])
    plain = source.view[start : start + size]
    sealed = AESGCM(KEY).encrypt(NONCE, bytes(plain), None)
    assert gcm_seal(KEY, NONCE, plain) == sealed
    assert gcm_open(KEY, NONCE, sealed) == plain
    bit = random.randrange(8 * len(sealed))
    forged = sealed[: bit // 8] + bytes([sealed[bit // 8] ^ 1 << bit % 8]) + sealed[bit // 8 + 1 :]
    with pytest.raises(IntegrityError):
        gcm_open(KEY, NONCE, forged)


def test_large_texts_agree() -> None:
    source, random = Guarded(-(-LARGE // PAGE) * PAGE), Random(300)
    source.view[:] = random.randbytes(len(source.view))
    for _ in range(60):
        agree_on_large(random, source)


# ---- blocks


def digests_of(salt: bytes, data: memoryview, block_bytes: int) -> bytes:
    starts = range(0, len(data), block_bytes)
    return b"".join(hashlib.sha256(salt + data[at : at + block_bytes]).digest() for at in starts)


@pytest.mark.parametrize("block_bytes", [1, 32, 63, 64, 65, 128, 192, 4096, 8192])
def test_every_number_of_blocks_agrees(block_bytes: int) -> None:
    salt = os.urandom(32)
    data = memoryview(Random(block_bytes).randbytes(40 * block_bytes))
    digests = digests_of(salt, data, block_bytes)
    for count in range(41):
        seen = sha256_blocks(salt, data[: count * block_bytes], block_bytes)
        assert seen == digests[: 32 * count], count


@pytest.mark.parametrize("block_bytes", [64, 192, 320, 4096])
def test_every_alignment_of_blocks(block_bytes: int) -> None:
    salt, text = bytes(range(32)), memoryview(TEXT)
    for start in range(64):
        data = text[start : start + 35 * block_bytes]
        assert sha256_blocks(salt, data, block_bytes) == digests_of(salt, data, block_bytes), start


@pytest.mark.parametrize("place", PLACES)
def test_nothing_beyond_the_blocks_is_touched(guarded: tuple[Guarded, Guarded], place: str) -> None:
    source, _ = guarded
    source.view[:] = TEXT[:ROOM]
    for count, block_bytes in [*itertools.product(range(41), (1, 64, 65, 192)), (8, PAGE)]:
        blocks = getattr(source, place)(count * block_bytes)
        seen = sha256_blocks(bytes(32), blocks, block_bytes)
        assert seen == digests_of(bytes(32), blocks, block_bytes), (count, block_bytes)


# ---- at random, for longer


@pytest.fixture
def random() -> Random:
    seed = int(os.environ.get("SEALSERVE_SEED") or int.from_bytes(os.urandom(6), "big"))
    sys.stderr.write(f"SEALSERVE_SEED={seed}\n")
    return Random(seed)


@pytest.mark.long
def test_texts_at_random(random: Random, guarded: tuple[Guarded, Guarded]) -> None:
    """Any length of one chunk, at the edges of memory or at any alignment, as any chunk."""
    peers, (source, target) = Peers(), guarded
    for _ in range(30_000):
        size = random.choice([random.randrange(2101), random.randrange(CHUNK + 1)])
        first, text = random.randrange(1 << 37), random.randbytes(size)
        places = [lambda room, size, name=name: getattr(room, name)(size) for name in PLACES]
        places.append(lambda room, size: room.at(random.randrange(64), size))
        plain = random.choice(places)(source, size)
        sealed = random.choice(places)(target, sealed_size(size))
        peers.agree(first, text, plain, sealed)
        peers.refuse(first, plain, sealed, random.randrange(8 * len(sealed)))


@pytest.mark.long
def test_large_texts_at_random(random: Random) -> None:
    source = Guarded(-(-LARGE // PAGE) * PAGE)
    source.view[:] = random.randbytes(len(source.view))
    for _ in range(5_000):
        agree_on_large(random, source)


@pytest.mark.long
def test_blocks_at_random(random: Random) -> None:
    source = Guarded(64 * PAGE)
    source.view[:] = random.randbytes(len(source.view))
    for _ in range(5_000):
        block_bytes = random.choice([64 * random.randrange(1, 70), random.randrange(1, 5000)])
        size = random.randrange(min(70, len(source.view) // block_bytes) + 1) * block_bytes
        start = random.choice([0, len(source.view) - size, random.randrange(64)])
        blocks, salt = source.view[start:][:size], random.randbytes(32)
        if len(blocks) == size:
            assert sha256_blocks(salt, blocks, block_bytes) == digests_of(salt, blocks, block_bytes)
