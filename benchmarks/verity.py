"""How fast is data compared with its hash tree, and how fast is a tree built?

A leaf is SHA-256 of 32 bytes of salt and a page: 65 compressions. The first table stays in a core's
level 2 cache. The second is about a file in the page cache; programs are charged for their start.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from support.ciphers import memcpy
from support.hashing import (
    LEAF,
    evp_leaves,
    fsverity_digest,
    hashlib_leaves,
    hashlib_once,
    veritysetup_format,
    veritysetup_verify,
)
from support.native import one_core
from support.report import KIB, MIB, SHA256_LIMIT, Report, begin, options
from support.turns import Speed, Way

from sealserve.native.crypto import kernels
from sealserve.native.verity import Tree, TreeBuilder, TrustedTree

QUESTION = "How fast is data compared with its hash tree, and how fast is one built?"
FILE, QUICK_FILE = 256 * MIB, MIB
PIECE = 256 * KIB


def in_cache(report: Report) -> None:
    data = bytearray(os.urandom(report.options.size))
    made = built(data)
    tree = TrustedTree.load(made.area, len(data), made.root)
    ours = Way("TrustedTree.check", len(data), lambda: tree.check(0, data))
    evp = evp_leaves(data, bytearray(len(data) // LEAF * 32))
    leaves, once = hashlib_leaves(data), hashlib_once(data)
    speeds = report.compare(
        "Compared with a tree, one thread",
        [ours],
        [evp, leaves, once, memcpy(len(data))],
    )
    mine = speeds[ours.name]
    report.ratio("against hashlib, one call", mine, speeds[once.name], at_least=2.2)
    report.ratio("against hashlib, leaf by leaf", mine, speeds[leaves.name])
    report.ratio("against OpenSSL, EVP", mine, speeds[evp.name])
    limit(report, mine)


def limit(report: Report, speed: Speed) -> None:
    """Of bytes of data: salt and padding, 1.5 percent of what is hashed, are not counted."""
    what = "SHA-256 of leaves"
    if kernels()["sha256"][0] != "x16":
        report.no_limit(what, f"no model of ports for kernel {kernels()['sha256'][0]}")
        return
    report.port_limit(what, speed, SHA256_LIMIT, at_least=0.85)


def of_a_file(report: Report, folder: Path) -> None:
    data, tree = folder / "data", folder / "tree"
    size = QUICK_FILE if report.options.quick else FILE
    data.write_bytes(os.urandom(size))
    with data.open("rb") as file:
        piece = memoryview(bytearray(PIECE))

        def build() -> Tree:
            builder = TreeBuilder()
            for at in range(0, size, PIECE):
                builder.update(piece[: os.preadv(file.fileno(), [piece], at)])
            return builder.finish()

        made = build()
        tree.write_bytes(made.area)
        ours = Way("TreeBuilder, file read in pieces", size, build)
        speeds = report.compare(
            "A tree built over a cached file, one thread",
            [ours],
            [
                veritysetup_format(data, folder / "formatted"),
                fsverity_digest(data),
            ],
        )
        for name in ("veritysetup format", "fsverity digest"):
            report.ratio(f"against {name}", speeds[ours.name], speeds.get(name))
        trusted = TrustedTree.load(made.area, size, made.root)

        def check() -> None:
            for at in range(0, size, PIECE):
                trusted.check(at, piece[: os.preadv(file.fileno(), [piece], at)])

        ours = Way("TrustedTree.check, file read in pieces", size, check)
        peer = veritysetup_verify(data, tree, made.root.hex())
        speeds = report.compare("A cached file compared with its tree, one thread", [ours], [peer])
        report.ratio("against veritysetup verify", speeds[ours.name], speeds.get(peer.name))


def built(data: bytearray) -> Tree:
    builder = TreeBuilder()
    builder.update(data)
    return builder.finish()


def main() -> None:
    wanted = options(QUESTION, size=512 * KIB, quick_size=128 * KIB, repeats=15)
    report = begin("verity", QUESTION, wanted)
    with one_core(), tempfile.TemporaryDirectory() as folder:
        in_cache(report)
        of_a_file(report, Path(folder))
    report.finish()


main()
