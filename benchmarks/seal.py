"""How fast is plaintext sealed, and the tree over it built?

Ours does both while a piece is in the cache, and writes. The peers encrypt with OpenSSL as
pyca/cryptography ships it, and hash with hashlib, 16 KiB and 4 KiB at a time, into memory.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.side_by_side import MIB, Way, compare, memory_read

from sealserve.native.cobblestone import Message
from sealserve.native.sealing import UNIT_PLAIN_BYTES, pages_of, seal_unit

SIZE = 256 * MIB
KEY, CONTEXT = os.urandom(32), b"benchmark"
UNIT_BYTES = pages_of(UNIT_PLAIN_BYTES, last=False) * 4096


def ours(plain: memoryview, fd: int) -> None:
    message = Message.new(KEY, CONTEXT)
    digests = bytearray(UNIT_BYTES // 4096 * 32)
    for unit, start in enumerate(range(0, SIZE, UNIT_PLAIN_BYTES)):
        part = plain[start : start + UNIT_PLAIN_BYTES]
        seal_unit(fd, unit * UNIT_BYTES, message, unit * 256, part, digests, last=False)


def cobblestone(plain: memoryview, out: memoryview) -> None:
    """The library's own, then a hash of all of it in one call: less work than a tree."""
    encryptor = Cobblestone256Encryptor(KEY, CONTEXT)
    written = encryptor.update_into(plain, out)
    encryptor.finalize()
    hashlib.sha256(out[:written])


def one_text(plain: memoryview, out: memoryview, aead: AESGCM) -> None:
    """One nonce for everything: less work than chunks."""
    aead.encrypt_into(bytes(12), plain, None, out[: SIZE + 16])
    hashlib.sha256(out[: SIZE + 16])


def main() -> None:
    plain = memoryview(os.urandom(SIZE))
    out = memoryview(bytearray(SIZE + SIZE // 512 + MIB))
    aead = AESGCM(KEY)
    with tempfile.TemporaryFile() as file:
        compare(
            "How fast is plaintext sealed and its tree built, on one thread?",
            SIZE,
            ssl.OPENSSL_VERSION,
            [
                Way("seal_unit, into a file", SIZE, lambda: ours(plain, file.fileno())),
                Way("Cobblestone256Encryptor + sha256", SIZE, lambda: cobblestone(plain, out)),
                Way("AESGCM.encrypt_into + sha256", SIZE, lambda: one_text(plain, out, aead)),
                memory_read(bytes(plain)),
            ],
        )


main()
