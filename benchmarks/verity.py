"""How fast is data compared with its hash tree, beside hashlib?

Ours hashes a salt before each block of 4096 bytes and compares every digest. hashlib has one call
over all of it, which is less work: the best it can do.
"""

from __future__ import annotations

import hashlib
import os
import ssl

from support.side_by_side import MIB, Way, compare, memory_read

from sealserve.native.verity import TreeBuilder, TrustedTree

SIZE = 256 * MIB


def main() -> None:
    data = os.urandom(SIZE)
    builder = TreeBuilder()
    builder.update(data)
    made = builder.finish()
    tree = TrustedTree.load(made.area, SIZE, made.root)
    compare(
        "How fast is data compared with its hash tree?",
        SIZE,
        ssl.OPENSSL_VERSION,
        [
            Way("TrustedTree.check", SIZE, lambda: tree.check(0, data)),
            Way("hashlib.sha256, one call", SIZE, lambda: hashlib.sha256(data)),
            memory_read(data),
        ],
    )


main()
