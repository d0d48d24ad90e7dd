"""What the targets stand on: places, times and names of seeds, and parsers of files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
NOW = datetime.now(UTC).replace(microsecond=0)
SECONDS = int(NOW.timestamp())
ISSUER, KID, HOST = "https://service.example", "k", "vault.example"
REAL = "openpcc/az-cvm-genoa-v3"  # the claims it speaks for are known
BUNDLE = "https://vault.example/keys/a/0123456789abcdef0123456789abcdef"


@cache
def scratch() -> Path:
    """A folder for parsers that want a path; gone when the program ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return folder


def in_file(parse: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    """A parser of a path as one of bytes."""

    def run(data: bytes) -> object:
        path = scratch() / name
        path.write_bytes(data)
        return parse(path)

    return run


def same(written: bytes, read: bytes) -> None:
    """What is accepted has one spelling."""
    assert written == read, f"accepted, and written as {written!r}"
