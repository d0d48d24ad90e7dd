"""How fast is data compared with its hash tree, and how fast is a tree built?

A leaf is SHA-256 of 32 bytes of salt and a page: 65 compressions. The first table stays in a core's
level 2 cache. The second is about a file in the page cache; programs are charged for their start.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
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
from support.machine import SHA256_PORTS
from support.native import one_core
from support.options import KIB, MIB, options
from support.report import Report, begin
from support.turns import Way

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
    report.ratio("against hashlib, leaf by leaf", mine, speeds[leaves.name], at_least=2.2)
    report.ratio("against hashlib, one call", mine, speeds[once.name])
    report.ratio("against OpenSSL, EVP", mine, speeds[evp.name])
    # Of bytes of data: salt and padding, 1.5 percent of what is hashed, are not counted.
    report.port_limit("SHA-256 of leaves", mine, SHA256_PORTS, at_least=0.85)


def of_a_file(report: Report, folder: Path) -> None:
    data, tree = folder / "data", folder / "tree"
    data.write_bytes(os.urandom(QUICK_FILE if report.options.quick else FILE))
    with data.open("rb") as file:
        made = building(report, data, file.fileno())
        tree.write_bytes(made.area)
        checking(report, data, file.fileno(), tree, made)


def building(report: Report, data: Path, fd: int) -> Tree:
    def build() -> Tree:
        builder = TreeBuilder()
        for _, piece in pieces(fd):
            builder.update(piece)
        return builder.finish()

    ours = Way("TreeBuilder, file read in pieces", data.stat().st_size, build)
    formatted = data.with_name("formatted")
    speeds = report.compare(
        "A tree built over a cached file, one thread",
        [ours],
        [veritysetup_format(data, formatted), fsverity_digest(data)],
    )
    for name in ("veritysetup format", "fsverity digest"):
        report.ratio(f"against {name}", speeds[ours.name], speeds.get(name))
    return build()


def checking(report: Report, data: Path, fd: int, tree: Path, made: Tree) -> None:
    size = data.stat().st_size
    trusted = TrustedTree.load(made.area, size, made.root)

    def check() -> None:
        for at, piece in pieces(fd):
            trusted.check(at, piece)

    ours = Way("TrustedTree.check, file read in pieces", size, check)
    peer = veritysetup_verify(data, tree, made.root.hex())
    speeds = report.compare("A cached file compared with its tree, one thread", [ours], [peer])
    report.ratio("against veritysetup verify", speeds[ours.name], speeds.get(peer.name))


def pieces(fd: int) -> Iterator[tuple[int, memoryview]]:
    """Where each begins and what it holds until the next one is read."""
    piece, at = memoryview(bytearray(PIECE)), 0
    while size := os.preadv(fd, [piece], at):
        yield at, piece[:size]
        at += size


def built(data: bytearray) -> Tree:
    builder = TreeBuilder()
    builder.update(data)
    return builder.finish()


def main() -> None:
    wanted = options(QUESTION, size=512 * KIB, quick_size=128 * KIB, multiple=LEAF, repeats=15)
    report = begin("verity", QUESTION, wanted)
    with one_core(), tempfile.TemporaryDirectory() as folder:
        in_cache(report)
        of_a_file(report, Path(folder))
    report.finish()


main()
