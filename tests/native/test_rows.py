"""Chunks in a row, asked in C: what `gcm_open_chunks` leaves where one of them is not as it was.

Whoever calls it from Cython wipes all of its own buffer again, so there it could not be seen.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sealserve.native.crypto import kernels

SOURCES = Path(__file__).resolve().parents[2] / "native/src"
CHUNK, TAG = 1024, 16  # a chunk of whole groups, which the kernel for rows wants
STRIDE = CHUNK + TAG
CHUNKS = 5
PLAIN = os.urandom((CHUNKS - 1) * CHUNK + 100)  # the last one is short
KEY, BASE, FIRST = os.urandom(32), os.urandom(12), 7
OPEN, SEAL = 0, 1


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("rows") / "crypto.so"
    sources = [path for path in sorted(SOURCES.glob("*.c")) if path.name != "nghttp2.c"]
    build = ["gcc", "-std=c11", "-O3", "-shared", "-fPIC", "-o", library, *sources, "-ldl"]
    subprocess.run(build, check=True)
    return library


@pytest.fixture(scope="module", params=kernels()["gcm"])
def crypto(built: Path, request: pytest.FixtureRequest) -> ctypes.CDLL:
    """With this kernel; another file is another library, and chooses anew."""
    library = ctypes.CDLL(shutil.copy(built, built.with_name(f"{request.param}.so")))
    for name in ("crypto_open", "gcm_kernel_name"):
        getattr(library, name).restype = ctypes.c_char_p
    library.gcm_new.restype = ctypes.c_void_p
    library.gcm_open_chunks.restype = ctypes.c_size_t
    assert library.crypto_open(request.param.encode(), None) is None
    assert library.gcm_kernel_name(ctypes.c_size_t(0)) == request.param.encode()
    return library


def with_key(library: ctypes.CDLL, direction: int, function: str, *given: object) -> int:
    key = ctypes.c_void_p(library.gcm_new(KEY, direction))
    try:
        done = getattr(library, function)(
            key, BASE, ctypes.c_uint64(FIRST), ctypes.c_size_t(CHUNK), *given
        )
    finally:
        library.gcm_free(key)
    return int(done)


@pytest.fixture(scope="module")
def sealed(crypto: ctypes.CDLL) -> bytes:
    room = ctypes.create_string_buffer(len(PLAIN) + CHUNKS * TAG)
    given = (ctypes.c_size_t(CHUNKS), PLAIN, ctypes.c_size_t(len(PLAIN)), room)
    assert with_key(crypto, SEAL, "gcm_seal_chunks", *given) == 1
    return room.raw


def opened(library: ctypes.CDLL, sealed: bytes) -> tuple[int, bytes]:
    """How many chunks, and all that was left; what was never written to is 0xEE."""
    room = ctypes.create_string_buffer(b"\xee" * len(PLAIN), len(PLAIN))
    done = with_key(library, OPEN, "gcm_open_chunks", sealed, ctypes.c_size_t(len(sealed)), room)
    return done, room.raw


def test_a_row_that_is_as_it_was(crypto: ctypes.CDLL, sealed: bytes) -> None:
    assert opened(crypto, sealed) == (CHUNKS, PLAIN)


@pytest.mark.parametrize("within", [0, CHUNK + 3], ids=["text", "tag"])
@pytest.mark.parametrize("bad", range(CHUNKS))
def test_a_bad_chunk_leaves_nothing_of_itself_and_of_all_behind_it(
    crypto: ctypes.CDLL, sealed: bytes, bad: int, within: int
) -> None:
    """A row was decrypted whole before its tags were compared."""
    altered = bytearray(sealed)
    altered[min(bad * STRIDE + within, len(sealed) - 1)] ^= 1
    done, left = opened(crypto, bytes(altered))
    assert done == bad
    assert left == PLAIN[: bad * CHUNK] + bytes(len(PLAIN) - bad * CHUNK)


def test_of_several_bad_chunks_the_first_counts(crypto: ctypes.CDLL, sealed: bytes) -> None:
    altered = bytearray(sealed)
    altered[STRIDE] ^= 1
    altered[3 * STRIDE] ^= 1
    assert opened(crypto, bytes(altered)) == (1, PLAIN[:CHUNK] + bytes(len(PLAIN) - CHUNK))
