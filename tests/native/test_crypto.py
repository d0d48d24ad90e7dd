"""The C layer against its twin, hashlib and hmac, and everything that is not a question to it."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

import pytest

from sealserve.native.errors import IntegrityError

KEY, NONCE = bytes(range(32)), bytes(12)


def test_gcm_agrees_with_its_twin_at_every_length() -> None:
    from sealserve.native import reference
    from support.native_backends import NATIVE

    text = os.urandom(2100)
    for size in [*range(1030), 2047, 2048, 2049, 2100]:
        sealed = NATIVE.gcm_seal(KEY, NONCE, text[:size])
        assert sealed == reference.gcm_seal(KEY, NONCE, text[:size])
        assert NATIVE.gcm_open(KEY, NONCE, sealed) == text[:size]


def test_every_flipped_bit_of_a_sealed_text_is_refused(backend: Any) -> None:
    sealed = backend.gcm_seal(KEY, NONCE, b"thirty-three bytes, so two blocks")
    for bit in range(len(sealed) * 8):
        forged = bytearray(sealed)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            backend.gcm_open(KEY, NONCE, forged)


def test_shorter_than_a_tag(backend: Any) -> None:
    for size in range(16):
        with pytest.raises(IntegrityError):
            backend.gcm_open(KEY, NONCE, bytes(size))


@pytest.mark.parametrize(("key", "nonce"), [(31, 12), (33, 12), (0, 12), (32, 11), (32, 16)])
def test_other_key_and_nonce_lengths_are_misuse(backend: Any, key: int, nonce: int) -> None:
    with pytest.raises(ValueError, match=r"key|nonce"):
        backend.gcm_seal(bytes(key), bytes(nonce), b"")
    with pytest.raises(ValueError, match=r"key|nonce"):
        backend.gcm_open(bytes(key), bytes(nonce), bytes(16))


@pytest.mark.parametrize("block", [1, 55, 56, 64, 4096])
@pytest.mark.parametrize("count", [0, 1, 3, 70])
def test_blocks_are_hashed_behind_the_salt(backend: Any, block: int, count: int) -> None:
    salt, data = os.urandom(32), os.urandom(block * count)
    wanted = [
        hashlib.sha256(salt + data[i * block : (i + 1) * block]).digest() for i in range(count)
    ]
    assert backend.sha256_blocks(salt, data, block) == b"".join(wanted)


@pytest.mark.parametrize(
    ("salt", "data", "block"), [(31, 64, 64), (32, 65, 64), (32, 0, 0), (32, 4, -4)]
)
def test_blocks_of_other_lengths_are_misuse(backend: Any, salt: int, data: int, block: int) -> None:
    with pytest.raises(ValueError, match=r"salt|blocks"):
        backend.sha256_blocks(bytes(salt), bytes(data), block)


@pytest.mark.parametrize("key", [1, 32, 128, 129, 300])
@pytest.mark.parametrize("size", [0, 1, 500])
def test_hmac(backend: Any, key: int, size: int) -> None:
    secret, data = os.urandom(key), os.urandom(size)
    assert backend.hmac_sha512(secret, data) == hmac.digest(secret, data, "sha512")


def test_an_empty_hmac_key_is_misuse(backend: Any) -> None:
    with pytest.raises(ValueError, match="empty"):
        backend.hmac_sha512(b"", b"data")
