"""Files a person names: read with a limit, written whole or not at all, never over an input."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sealserve.native.errors import ConfigError, unwritten


def read(path: Path, limit: int) -> bytes:
    """The whole file. Raises ConfigError if it cannot be read or has more than `limit` bytes."""
    data = read_start(path, limit)
    if len(data) > limit:
        raise ConfigError(
            f"is longer than {limit} bytes", file=str(path), hint="is it the right file?"
        )
    return data


def read_start(path: Path, limit: int) -> bytes:
    """The whole file, or `limit` bytes and one of a longer one: for readers that refuse those.

    Raises ConfigError if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", file=str(path), hint="is it there, and readable?"
        ) from error


def require_private(path: Path, option: str) -> None:
    """ConfigError for a file that everybody may read."""
    if path.stat().st_mode & stat.S_IRWXO:
        raise ConfigError(
            "everybody may read it",
            file=str(path),
            key=option,
            hint=f"chmod o= {path}; and think about who has seen it",
        )


def write(path: Path, data: bytes, *, inputs: Collection[Path] = ()) -> None:
    """Write beside the target, then rename. Raises as `unwritten`; then nothing has changed.

    inputs: files that were read to make this one, and that it must not replace.
    """
    require_other(path, inputs)
    partial = _beside(path)
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # where its folder is none, there is nothing to remove
            partial.unlink()
        raise unwritten(error, str(path)) from error


@contextmanager
def writing(path: Path, *, inputs: Collection[Path] = ()) -> Iterator[BinaryIO]:
    """A file to be filled, which gets its name when all is written; as `write` otherwise."""
    require_other(path, inputs)
    partial = _beside(path)
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise unwritten(error, str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """Files in a new folder, all or none of them. ConfigError if it is there and not empty."""
    partial = _beside(path)
    try:
        partial.mkdir()
        for name, data in contents.items():
            (partial / name).write_bytes(data)
        partial.rename(path)  # replaces an empty folder, and nothing else
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise ConfigError(
                "exists already", file=str(path), hint="choose another -o, or remove it"
            ) from error
        raise unwritten(error, str(path)) from error


def check_place(path: Path) -> None:
    """Raises as `write` if no file can be made there: before what it holds has cost anything."""
    probe = _beside(path)
    try:
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise unwritten(error, str(path)) from error


def require_other(path: Path, inputs: Collection[Path]) -> None:
    """ConfigError if writing to `path` would replace one of these files."""
    if any(_same(path, other) for other in inputs):
        raise ConfigError("is also an input", file=str(path), hint="choose another -o")


def _beside(path: Path) -> Path:
    if not path.name:
        raise ConfigError(f"{str(path)!r} is no file name")
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
