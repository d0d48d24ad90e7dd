"""How fast is plaintext sealed, and the tree over it built, into a file?

Ours does both while a piece is in the cache, and writes; so does the same structure on OpenSSL (our
own code with both kernels set to libcrypto, in another process, into the same file). The library's
own Cobblestone and one hash over all of it stay in memory: less work.
"""

from __future__ import annotations

import hashlib
import os
import tempfile

from cryptography.cobblestone import Cobblestone256Encryptor
from support.native import one_core
from support.options import MIB, options
from support.process import OPENSSL, OURS, Worker
from support.report import begin
from support.turns import Way

from sealserve.native.sealing import UNIT_PLAIN_BYTES

QUESTION = "How fast is plaintext sealed, and its tree built?"


def cobblestone(size: int) -> Way:
    """Its chunks take 16 bytes more each."""
    plain, out = os.urandom(size), memoryview(bytearray(size + size // 512 + MIB))

    def run() -> None:
        encryptor = Cobblestone256Encryptor(bytes(32), b"benchmark")
        written = encryptor.update_into(plain, out)
        encryptor.finalize()
        hashlib.sha256(out[:written]).digest()

    return Way("cryptography Cobblestone + hashlib, one call", size, run)


def main() -> None:
    unit = UNIT_PLAIN_BYTES
    wanted = options(QUESTION, size=64 * unit, quick_size=unit, multiple=unit, repeats=9)
    report = begin("seal", QUESTION, wanted)
    size = wanted.size
    with (
        one_core(),
        tempfile.NamedTemporaryFile() as file,
        Worker(OURS, "seal", file.name, size) as mine,
        Worker(OPENSSL, "seal", file.name, size) as openssl,
    ):
        speeds = report.compare(
            "Sealed into a file with its tree, one thread",
            [ours := mine.way("seal_unit and tree_of", size, "seal")],
            [
                same := openssl.way("the same structure on OpenSSL", size, "seal"),
                library := cobblestone(size),
            ],
        )
    report.ratio("against OpenSSL", speeds[ours.name], speeds[same.name], at_least=2.0)
    report.ratio("against cryptography and hashlib", speeds[ours.name], speeds[library.name])
    report.finish()


main()
