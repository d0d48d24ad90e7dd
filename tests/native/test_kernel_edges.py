"""Kernels at every length and at the edge of mapped memory, against OpenSSL as pyca ships it."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealserve.native.cobblestone import Message
from sealserve.native.crypto import gcm_open, gcm_seal, sha256_blocks

KEY, NONCE = bytes(range(32)), bytes(range(12))
PAGE = mmap.PAGESIZE
ROOM = 8 * PAGE
# A group is 512 bytes; beyond 255 counters the lowest byte wraps, beyond 65535 the next.
LENGTHS = [*range(1100), 4095, 4096, 4097, 16383, 16384, 16385, 65536 * 16 + 7]
libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def text() -> bytes:
    return Random(7).randbytes(max(LENGTHS))


class Guarded:
    """Memory with a page behind and before it that nobody may touch."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, ROOM + 2 * PAGE)
        self._hold = ctypes.c_char.from_buffer(self.map)
        start = ctypes.addressof(self._hold)
        for page in (start, start + PAGE + ROOM):
            assert libc.mprotect(ctypes.c_void_p(page), PAGE, 0) == 0
        self.view = memoryview(self.map)

    def at_the_end(self, size: int) -> memoryview:
        return self.view[PAGE + ROOM - size : PAGE + ROOM]

    def at_the_start(self, size: int) -> memoryview:
        return self.view[PAGE : PAGE + size]


@pytest.fixture(scope="module")
def guarded() -> tuple[Guarded, Guarded]:
    return Guarded(), Guarded()


def test_every_length_agrees(text: bytes) -> None:
    peer = AESGCM(KEY)
    for size in LENGTHS:
        sealed = peer.encrypt(NONCE, text[:size], None)
        assert gcm_seal(KEY, NONCE, text[:size]) == sealed, size
        assert gcm_open(KEY, NONCE, sealed) == text[:size], size


def test_every_alignment_agrees(text: bytes) -> None:
    peer = AESGCM(KEY)
    for start in range(64):
        part = text[start : start + 1500]
        source = memoryview(text)[start : start + 1500]
        assert gcm_seal(KEY, NONCE, source) == peer.encrypt(NONCE, part, None), start


@pytest.mark.parametrize("block_bytes", [1, 32, 63, 64, 65, 128, 192, 4096, 8192])
def test_every_number_of_blocks_agrees(block_bytes: int) -> None:
    salt = os.urandom(32)
    data = Random(block_bytes).randbytes(40 * block_bytes)
    digests = [
        hashlib.sha256(salt + data[at : at + block_bytes]).digest()
        for at in range(0, len(data), block_bytes)
    ]
    for count in range(41):
        seen = sha256_blocks(salt, data[: count * block_bytes], block_bytes)
        assert seen == b"".join(digests[:count]), count


@pytest.mark.parametrize("place", ["at_the_start", "at_the_end"])
def test_nothing_beyond_the_text_is_touched(
    guarded: tuple[Guarded, Guarded], text: bytes, place: str
) -> None:
    source, target = guarded
    message = Message.new(KEY, b"edges")
    reader = Message.of(KEY, message.header, b"edges")
    for size in [*range(0, 1100, 7), 16383, 16384 + 5, 20000]:
        plain = getattr(source, place)(size)
        plain[:] = text[:size]
        chunks = size // 16384 + 1
        sealed = getattr(target, place)(size + 16 * chunks)
        assert message.seal_into(0, plain, sealed, last=True) == len(sealed)
        plain[:] = bytes(size)
        assert reader.open_into(0, sealed, plain, last=True) == size
        assert plain == text[:size]


@pytest.mark.parametrize("place", ["at_the_start", "at_the_end"])
def test_nothing_beyond_the_blocks_is_touched(guarded: tuple[Guarded, Guarded], place: str) -> None:
    source, _ = guarded
    for size in (64, 192, 4096, ROOM):
        blocks = getattr(source, place)(size)
        wanted = hashlib.sha256(bytes(32) + bytes(blocks[:64])).digest()
        assert sha256_blocks(bytes(32), blocks, 64)[:32] == wanted
