"""Layers of container images to convert: a few large files, or very many small ones."""

from __future__ import annotations

import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

FILES_IN_FOLDER = 50
SMALL_BYTES = range(8193)  # sizes of small files, each as likely as the others


def large(path: Path, size: int, files: int) -> None:
    """Random bytes, so many in so many files."""
    with path.open("wb") as tar:
        for number in range(files):
            _put(tar.write, f"srv/model/part{number}", os.urandom(size // files))
        tar.write(bytes(1024))


def small(path: Path, files: int) -> None:
    """Folders of files as packages have them; what is in them does not matter here."""
    draw = random.Random(files)  # noqa: S311 - sizes of files, the same in every run
    data = os.urandom(SMALL_BYTES.stop)
    with path.open("wb") as tar:
        for number in range(files):
            folder = f"usr/lib/package{number // FILES_IN_FOLDER}"
            if number % FILES_IN_FOLDER == 0:
                _put(tar.write, folder, None)
            size = draw.choice(SMALL_BYTES)
            _put(tar.write, f"{folder}/module{number}.py", data[:size])
        tar.write(bytes(1024))


def _put(write: Callable[[bytes], int], name: str, data: bytes | None) -> None:
    """An entry; without data, of a folder."""
    entry = tarfile.TarInfo(name)
    entry.mtime = 1_700_000_000
    entry.mode = 0o755
    if data is None:
        entry.type = tarfile.DIRTYPE
    else:
        entry.size = len(data)
    padding = bytes(-entry.size % 512)
    write(entry.tobuf(tarfile.USTAR_FORMAT) + (data or b"") + padding)
