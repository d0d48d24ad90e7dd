"""Who else opens authenticated ciphertext: each as a way over `size` bytes, in texts of `text`.

Every text has its own nonce. What can be made beforehand is: ciphertexts, views of where plaintext
goes, key schedules where the library keeps one. What a library allocates for each call stays its
own affair.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.native import address, done, keeping, library, must, start_own
from support.turns import Missing, Way

from sealserve.native.cobblestone import CHUNK_BYTES, Message
from sealserve.native.crypto import kernels

KEY, BASE, CONTEXT = os.urandom(32), os.urandom(12), b"benchmark"
TAG = 16


@dataclass(frozen=True)
class Chunks:
    """`size` random bytes in whole chunks, sealed under KEY with nonces from BASE."""

    size: int

    @cached_property
    def sealed(self) -> bytearray:
        aead, all_of_it = AESGCM(KEY), bytearray()
        for number in range(self.size // CHUNK_BYTES):
            all_of_it += aead.encrypt(nonce(number), os.urandom(CHUNK_BYTES), None)
        return all_of_it

    @cached_property
    def out(self) -> memoryview:
        return pages(self.size)


def pages(size: int) -> memoryview:
    """Where everybody's plaintext goes: whole pages, as a load has them.

    A store over the end of a cache line counts as two, and where a bytearray begins is chance.
    """
    return memoryview(mmap.mmap(-1, size))


def nonce(number: int) -> bytes:
    """The base nonce XOR the number (C2SP chunked-encryption, AEAD usage)."""
    return (int.from_bytes(BASE) ^ number).to_bytes(12)


def open_into(size: int) -> Way:
    """The key is scheduled in every call, as Message does."""
    message = Message.new(KEY, CONTEXT)
    sealed, out = bytearray(size // CHUNK_BYTES * (CHUNK_BYTES + TAG)), pages(size)
    message.seal_into(0, os.urandom(size), sealed, last=False)
    return Way("Message.open_into", size, lambda: message.open_into(0, sealed, out, last=False))


def kernel(chunks: Chunks) -> Way:
    """The same without Python and with the key scheduled beforehand, as a load has it."""
    start_own(KEY)
    return _from_c("the same kernel, called from C", chunks, library().bench_own_open)


def evp(chunks: Chunks) -> Way:
    """The system's OpenSSL through EVP, called from C, the key scheduled beforehand."""
    native = library()
    must(native.bench_evp_start())
    return _from_c(
        "system OpenSSL, EVP", chunks, partial(native.bench_evp_open, native.bench_evp_key(KEY))
    )


def ipsec(chunks: Chunks) -> Way | Missing:
    """Called from C, the key scheduled beforehand."""
    native = library()
    why = native.bench_ipsec_start(KEY, "vaes512" in kernels()["gcm"])
    if why is not None:
        return Missing("libipsec-mb", why.decode())
    return _from_c("libipsec-mb", chunks, native.bench_ipsec_open)


def _from_c(name: str, chunks: Chunks, function: Callable[..., int]) -> Way:
    base = bytearray(BASE)
    sealed, out = chunks.sealed, chunks.out
    arguments = address(base), CHUNK_BYTES, address(sealed), len(sealed), address(out)
    return Way(name, chunks.size, keeping(lambda: done(function(*arguments)), base, sealed, out))


def aesgcm(size: int, text: int) -> Way:
    """The OpenSSL that pyca/cryptography brings, newer than the system's."""
    aead = AESGCM(KEY)
    size = max(size // text, 1) * text
    out = pages(size)
    calls = [
        (nonce(at), aead.encrypt(nonce(at), os.urandom(text), None), None, out[at : at + text])
        for at in range(0, size, text)
    ]

    def run() -> None:
        for call in calls:
            aead.decrypt_into(*call)

    return Way(f"cryptography decrypt_into, texts of {text >> 10} KiB", size, run)


def cobblestone(size: int) -> Way:
    message = Message.new(KEY, CONTEXT)
    sealed = bytearray(size // CHUNK_BYTES * (CHUNK_BYTES + TAG) + TAG)  # an empty chunk ends it
    message.seal_into(0, os.urandom(size), sealed, last=True)
    whole, out = message.header + bytes(sealed), pages(size)

    def run() -> None:
        decryptor = Cobblestone256Decryptor(KEY, CONTEXT)
        decryptor.update_into(whole, out)
        decryptor.finalize()

    return Way("cryptography Cobblestone256Decryptor", size, run)


def pycryptodome(size: int, text: int) -> Way | Missing:
    name = f"pycryptodome, texts of {text >> 10} KiB"
    try:
        from Crypto.Cipher import AES
    except ImportError:
        return Missing(name, "not installed: pip install pycryptodome")
    aead, out = AESGCM(KEY), pages(size)
    calls = [
        (nonce(at), aead.encrypt(nonce(at), os.urandom(text), None), out[at : at + text])
        for at in range(0, size, text)
    ]

    def run() -> None:
        for iv, sealed, to in calls:
            cipher = AES.new(KEY, AES.MODE_GCM, nonce=iv)
            cipher.decrypt_and_verify(sealed[:-TAG], sealed[-TAG:], output=to)

    return Way(name, size, run)


def pynacl(size: int, text: int) -> Way | Missing:
    """AES-256-GCM by libsodium."""
    name = f"PyNaCl AES-256-GCM, texts of {text >> 10} KiB"
    try:
        from nacl.bindings import crypto_aead_aes256gcm_decrypt as decrypt
    except ImportError:
        return Missing(name, "not installed: pip install PyNaCl")
    aead = AESGCM(KEY)
    calls = [
        (aead.encrypt(nonce(at), os.urandom(text), None), None, nonce(at), KEY)
        for at in range(0, size, text)
    ]

    def run() -> None:
        for call in calls:
            decrypt(*call)

    return Way(name, size, run)


def secretbox(size: int, text: int) -> Way | Missing:
    """Another cipher, what NaCl's users take."""
    name = "PyNaCl XSalsa20-Poly1305 (another cipher)"
    try:
        from nacl.secret import SecretBox
    except ImportError:
        return Missing(name, "not installed: pip install PyNaCl")
    box = SecretBox(KEY)
    sealed = [bytes(box.encrypt(os.urandom(text))) for _ in range(0, size, text)]

    def run() -> None:
        for text in sealed:
            box.decrypt(text)

    return Way(name, size, run)


def memcpy(size: int) -> Way:
    """Reading and writing, and nothing in between."""
    source, out = bytearray(os.urandom(size)), bytearray(size)
    arguments = address(out), address(source), size
    return Way("memcpy", size, keeping(lambda: ctypes.memmove(*arguments), source, out))
