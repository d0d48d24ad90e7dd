"""Cobblestone-256 against pyca/cryptography in both directions, and against everything hostile."""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native import cobblestone, reference
from sealserve.native.errors import FormatError, IntegrityError

CHUNK, SEALED_CHUNK, HEADER = 16384, 16400, 56
KEY = bytes(range(32))
CONTEXT = b"sealserve tests\0\xff"
EDGES = sorted(
    {base + near for base in (0, CHUNK, 2 * CHUNK) for near in range(-17, 18)} - set(range(-17, 0))
)


def seal(backend: Any, plain: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    with backend.Message.new(key, context) as message:
        out = bytearray(backend.sealed_size(len(plain)) - HEADER)
        assert message.seal_into(0, plain, out, last=True) == len(out)
        return bytes(message.header + out)


def unseal(backend: Any, sealed: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    with backend.Message.of(key, sealed[:HEADER], context) as message:
        out = bytearray(max(len(sealed), 1))
        size = message.open_into(0, sealed[HEADER:], out, last=True)
        return bytes(out[:size])


def test_every_length_around_the_edges_is_read_by_the_library(backend: Any) -> None:
    text = os.urandom(EDGES[-1])
    for size in EDGES:
        sealed = seal(backend, text[:size])
        library = Cobblestone256Decryptor(KEY, CONTEXT)
        assert library.update(sealed) + library.finalize() == text[:size]


def test_every_length_around_the_edges_is_read_from_the_library(backend: Any) -> None:
    text = os.urandom(EDGES[-1])
    for size in EDGES:
        library = Cobblestone256Encryptor(KEY, CONTEXT)
        sealed = library.update(text[:size]) + library.finalize()
        assert len(sealed) == backend.sealed_size(size)
        assert backend.plain_size(len(sealed)) == size
        assert unseal(backend, sealed) == text[:size]


def test_the_library_refuses_what_we_sealed_for_somebody_else() -> None:
    library = Cobblestone256Decryptor(bytes(32), CONTEXT)
    with pytest.raises(InvalidTag):
        library.update(seal(cobblestone, b"text"))


def test_key_derivation_step_by_step(backend: Any) -> None:
    """C2SP chunked-encryption, Key derivation, by hand: RFC 5869 section 2.3 over SHA-512."""
    header = backend.Message.new(KEY, CONTEXT).header
    salt, commitment = header[:24], header[24:]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + CONTEXT
    first = hmac.digest(KEY, info + b"\1", hashlib.sha512)
    second = hmac.digest(KEY, first + info + b"\2", hashlib.sha512)
    assert (first + second)[44:76] == commitment


@given(context=st.binary(max_size=300))
def test_any_context(context: bytes) -> None:
    header = cobblestone.Message.new(KEY, context).header
    assert reference.Message.of(KEY, header, context).header == header


def test_salts_are_fresh(backend: Any) -> None:
    assert len({backend.Message.new(KEY, CONTEXT).header[:24] for _ in range(100)}) == 100


# ---- sizes


@given(st.integers(0, (1 << 52) - 1))
def test_sizes_agree_with_the_twin(plain_bytes: int) -> None:
    sealed_bytes = reference.sealed_size(plain_bytes)
    assert cobblestone.sealed_size(plain_bytes) == sealed_bytes
    assert cobblestone.plain_size(sealed_bytes) == plain_bytes


def test_lengths_no_message_has(backend: Any) -> None:
    """C2SP chunked-encryption, Implementation notes: a whole number of chunks, or part of a tag."""
    bad = [
        *range(HEADER + 16),
        *(HEADER + n * SEALED_CHUNK + cut for n in (1, 2, 9) for cut in range(16)),
    ]
    for size in [-1, *bad]:
        with pytest.raises(FormatError):
            backend.plain_size(size)


def test_the_longest_message(backend: Any) -> None:
    longest = (1 << 38) * CHUNK - 1
    assert backend.plain_size(backend.sealed_size(longest)) == longest
    with pytest.raises(ValueError, match="message"):
        backend.sealed_size(longest + 1)
    with pytest.raises(ValueError, match="message"):
        backend.sealed_size(-1)
    with pytest.raises(FormatError):
        backend.plain_size(backend.sealed_size(longest) + 17)


# ---- refusals


@pytest.mark.parametrize("at", [0, 23, 24, 55])
def test_a_header_that_was_altered(backend: Any, at: int) -> None:
    sealed = bytearray(seal(backend, b"text"))
    sealed[at] ^= 1
    with pytest.raises(IntegrityError, match="commitment"):
        unseal(backend, bytes(sealed))


def test_another_key_or_context(backend: Any) -> None:
    sealed = seal(backend, b"text")
    with pytest.raises(IntegrityError, match="commitment"):
        unseal(backend, sealed, key=KEY[::-1])
    with pytest.raises(IntegrityError, match="commitment"):
        unseal(backend, sealed, context=CONTEXT + b"\0")


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda body: body[:at] + bytes([body[at] ^ 0x80]) + body[at + 1 :]


def swap(body: bytes) -> bytes:
    return body[SEALED_CHUNK : 2 * SEALED_CHUNK] + body[:SEALED_CHUNK] + body[2 * SEALED_CHUNK :]


REFUSALS: dict[str, Callable[[bytes], bytes]] = {
    "first byte flipped": flip(0),
    "tag of chunk 0 flipped": flip(CHUNK),
    "chunk 1 flipped": flip(SEALED_CHUNK + 77),
    "last chunk flipped": flip(2 * SEALED_CHUNK),
    "last tag flipped": flip(2 * SEALED_CHUNK + 100 + 15),
    "chunks swapped": swap,
    "a chunk twice": lambda body: body[:SEALED_CHUNK] + body,
    "a chunk dropped": lambda body: body[SEALED_CHUNK:],
    "cut at a chunk": lambda body: body[: 2 * SEALED_CHUNK],
    "cut inside a chunk": lambda body: body[: SEALED_CHUNK + 500],
    "cut inside the last tag": lambda body: body[:-1],
    "cut to less than a tag": lambda body: body[: 2 * SEALED_CHUNK + 15],
    "cut to nothing": lambda _body: b"",
    "one byte more": lambda body: body + b"\0",
    "filled up to a chunk": lambda body: body + bytes(SEALED_CHUNK - 116),
    "a chunk of zeros more": lambda body: body + bytes(SEALED_CHUNK),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_refusals_leave_nothing_in_the_output(backend: Any, how: str) -> None:
    plain = os.urandom(2 * CHUNK + 100)
    sealed = seal(backend, plain)
    assert unseal(backend, sealed) == plain
    body = REFUSALS[how](sealed[HEADER:])
    message = backend.Message.of(KEY, sealed[:HEADER], CONTEXT)
    out = bytearray(4 * CHUNK)
    with pytest.raises(IntegrityError, match=r"chunk \d+ does not authenticate|is cut"):
        message.open_into(0, body, out, last=True)
    assert not any(out)


def test_the_message_names_the_chunk(backend: Any) -> None:
    message = backend.Message.new(KEY, CONTEXT)
    body = bytearray(3 * SEALED_CHUNK)
    message.seal_into(1000, bytes(3 * CHUNK), body, last=False)
    body[2 * SEALED_CHUNK] ^= 1
    with pytest.raises(IntegrityError, match="chunk 1002 "):
        message.open_into(1000, body, bytearray(3 * CHUNK), last=False)


@pytest.mark.parametrize("at", range(16 + 5))
def test_every_flipped_byte_of_a_short_message(backend: Any, at: int) -> None:
    sealed = bytearray(seal(backend, b"short"))
    sealed[HEADER + at] ^= 1
    with pytest.raises(IntegrityError):
        unseal(backend, bytes(sealed))


# ---- pieces


def test_a_message_in_pieces_is_the_same_message(backend: Any) -> None:
    plain = os.urandom(5 * CHUNK + 321)
    message = backend.Message.new(KEY, CONTEXT)
    whole, pieces = bytearray(6 * SEALED_CHUNK), b""
    size = message.seal_into(0, plain, whole, last=True)
    for first, count in ((0, 2), (2, 0), (2, 3), (5, 1)):
        out = bytearray(4 * SEALED_CHUNK)
        piece = plain[first * CHUNK : (first + count) * CHUNK]
        pieces += out[: message.seal_into(first, piece, out, last=first == 5)]
    assert pieces == whole[:size]
    out = bytearray(2 * CHUNK)
    assert message.open_into(3, whole[3 * SEALED_CHUNK : 5 * SEALED_CHUNK], out, last=False) == len(
        out
    )
    assert out == plain[3 * CHUNK : 5 * CHUNK]


@pytest.mark.parametrize(
    "first", [1, 255, 256, 65535, 1 << 16, (1 << 32) - 1, 1 << 32, (1 << 38) - 2]
)
def test_chunk_numbers_go_into_the_nonce_whole(first: int) -> None:
    """Ours and the twin agree on each, so no byte of the number is lost."""
    header = cobblestone.Message.new(KEY, CONTEXT).header
    ours, twin = (b.Message.of(KEY, header, CONTEXT) for b in (cobblestone, reference))
    plain, a, b = os.urandom(CHUNK + 9), bytearray(SEALED_CHUNK + 25), bytearray(SEALED_CHUNK + 25)
    ours.seal_into(first, plain, a, last=True)
    twin.seal_into(first, plain, b, last=True)
    assert a == b


@pytest.mark.parametrize("first", [-1, 1 << 38, 1 << 63, 1 << 64, 1 << 200])
def test_chunk_numbers_no_message_has(backend: Any, first: int) -> None:
    message = backend.Message.new(KEY, CONTEXT)
    with pytest.raises(ValueError, match="at most"):
        message.seal_into(first, b"", bytearray(16), last=True)
    with pytest.raises(ValueError, match="at most"):
        message.open_into(first, bytes(16), bytearray(16), last=True)


# ---- misuse


def test_pieces_of_other_lengths(backend: Any) -> None:
    message = backend.Message.new(KEY, CONTEXT)
    with pytest.raises(ValueError, match="not whole chunks"):
        message.seal_into(0, bytes(CHUNK + 1), bytearray(99999), last=False)
    with pytest.raises(ValueError, match="not whole chunks"):
        message.open_into(0, bytes(SEALED_CHUNK + 1), bytearray(99999), last=False)


def test_an_output_that_is_too_small(backend: Any) -> None:
    message = backend.Message.new(KEY, CONTEXT)
    for size in (0, 1, CHUNK):
        need = size + (size // CHUNK + 1) * 16
        with pytest.raises(ValueError, match="out"):
            message.seal_into(0, bytes(size), bytearray(need - 1), last=True)
        body = bytearray(need)
        message.seal_into(0, bytes(size), body, last=True)
        if size:
            with pytest.raises(ValueError, match="out"):
                message.open_into(0, body, bytearray(size - 1), last=True)


def test_an_output_that_overlaps_its_input(backend: Any) -> None:
    message = backend.Message.new(KEY, CONTEXT)
    memory = memoryview(bytearray(2 * SEALED_CHUNK))
    with pytest.raises(ValueError, match="overlap"):
        message.seal_into(0, memory[:CHUNK], memory[CHUNK - 1 :], last=False)
    with pytest.raises(ValueError, match="overlap"):
        message.open_into(0, memory[:SEALED_CHUNK], memory, last=False)


def test_neighbours_do_not_overlap() -> None:
    message = cobblestone.Message.new(KEY, CONTEXT)
    memory = memoryview(bytearray(CHUNK + SEALED_CHUNK))
    message.seal_into(0, memory[:CHUNK], memory[CHUNK:], last=False)
    message.open_into(0, memory[CHUNK:], memory[:CHUNK], last=False)
    assert not any(memory[:CHUNK])


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_keys_of_other_lengths(backend: Any, size: int) -> None:
    with pytest.raises(ValueError, match="key has"):
        backend.Message.new(bytes(size), CONTEXT)


@pytest.mark.parametrize("size", [0, 24, 55, 57])
def test_headers_of_other_lengths(backend: Any, size: int) -> None:
    with pytest.raises(ValueError, match="header has"):
        backend.Message.of(KEY, bytes(size), CONTEXT)


def test_a_wiped_message_is_of_no_use(backend: Any) -> None:
    message = backend.Message.new(KEY, CONTEXT)
    message.wipe()
    message.wipe()
    with pytest.raises(ValueError, match="wiped"):
        message.seal_into(0, b"", bytearray(16), last=True)
    with pytest.raises(ValueError, match="wiped"):
        message.open_into(0, bytes(16), bytearray(16), last=True)


def test_a_message_comes_from_new_or_of_only(backend: Any) -> None:
    with pytest.raises(TypeError, match=r"Message\.new"):
        backend.Message()
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(backend.Message.new(KEY, CONTEXT))


def test_a_message_made_behind_our_back_does_not_crash() -> None:
    with pytest.raises(ValueError, match="wiped"):
        cobblestone.Message.__new__(cobblestone.Message).seal_into(0, b"", bytearray(16), last=True)
