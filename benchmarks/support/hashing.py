"""Who else hashes leaves of 4096 bytes, and who else builds a tree over a file."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from support.native import address, done, keeping, library, must
from support.turns import Missing, Way

LEAF = 4096
SALT = bytes(32)


def evp_leaves(data: bytearray, digests: bytearray) -> Way:
    """The system's OpenSSL through EVP, called from C. digests: 32 bytes for each leaf."""
    native = library()
    must(native.bench_evp_start())
    leaves = len(data) // LEAF
    arguments = address(data), leaves, address(digests)

    def run() -> None:
        done(native.bench_evp_leaves(*arguments))

    return Way("system OpenSSL, EVP, salted leaves", len(data), keeping(run, data, digests))


def hashlib_leaves(data: bytearray) -> Way:
    view, salted = memoryview(data), hashlib.sha256(SALT)
    leaves = [view[at : at + LEAF] for at in range(0, len(data), LEAF)]

    def run() -> None:
        for leaf in leaves:
            state = salted.copy()
            state.update(leaf)
            state.digest()

    return Way("hashlib, salted leaves", len(data), run)


def hashlib_once(data: bytearray) -> Way:
    """Less work than leaves, and no Python between them: the best that hashlib can do."""
    return Way("hashlib, one call over all", len(data), lambda: hashlib.sha256(data).digest())


def veritysetup_format(data: Path, tree: Path) -> Way | Missing:
    options = ["--format=1", "--hash=sha256", f"--salt={SALT.hex()}"]
    return program("veritysetup format", data, [data, tree, *options], "cryptsetup-bin")


def veritysetup_verify(data: Path, tree: Path, root: str, *, hash_offset: int = 0) -> Way | Missing:
    options = [f"--hash-offset={hash_offset}"] if hash_offset else []
    return program("veritysetup verify", data, [data, tree, root, *options], "cryptsetup-bin")


def fsverity_digest(data: Path) -> Way | Missing:
    """A tree of another shape, over the same leaves."""
    options = ["--hash-alg=sha256", f"--block-size={LEAF}", f"--salt={SALT.hex()}"]
    return program("fsverity digest", data, [data, *options], "fsverity")


def program(name: str, data: Path, arguments: list[object], package: str) -> Way | Missing:
    """`name` is the command and its verb; it goes over all of the file."""
    command, verb = name.split()
    found = shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        return Missing(name, f"not installed: apt-get install {package}")
    line = [found, verb, *map(str, arguments)]
    return Way(
        name,
        data.stat().st_size // LEAF * LEAF,
        lambda: subprocess.run(line, check=True, stdout=subprocess.DEVNULL),
    )
