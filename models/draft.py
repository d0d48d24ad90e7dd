"""A file that exists under its name only once it is complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from sealserve.native.errors import ConfigError, UnavailableError


class Draft:
    """Written beside `target`, then published over it; nothing stays if that does not happen.

    Where the file system can, the file has no name until then, so that not even a killed process
    leaves it behind.
    """

    def __init__(self, target: Path) -> None:
        """Raises UnavailableError if no file can be made there, as everything here does."""
        self._target = target
        self._partial = partial_beside(target)
        self._named = False
        self._fd = self._create()
        self._written = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        view = memoryview(data)
        try:
            while view:
                done = os.write(self._fd, view)
                view = view[done:]
                self._written += done
        except OSError as error:
            raise self._failed(error) from error

    def fill(self, size: int, write: Callable[[int, int], None]) -> None:
        """Append `size` bytes that `write(fd, offset)` puts there itself, in whatever order."""
        try:
            write(self._fd, self._written)
            self._written = os.lseek(self._fd, self._written + size, os.SEEK_SET)
        except OSError as error:
            raise self._failed(error) from error

    def publish(self) -> None:
        """Make it last, then give it its name, in one step for everybody who looks."""
        try:
            os.fsync(self._fd)
            folder = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._give_name(folder)
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)
        if self._named:
            self._partial.unlink(missing_ok=True)

    def _create(self) -> int:
        fd = _create_nameless(self._target.parent)
        if fd is not None:
            return fd
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(self._partial, flags, 0o666)
        except OSError as error:
            raise UnavailableError(f"cannot write {self._target}: {error.strerror}") from error
        self._named = True
        return fd

    def _give_name(self, folder: int) -> None:
        if not self._named:
            # A folder's descriptor makes Python call linkat with AT_SYMLINK_FOLLOW, which it
            # otherwise never does; without, the link would be one to /proc.
            nameless = f"/proc/self/fd/{self._fd}"
            os.link(nameless, self._partial.name, dst_dir_fd=folder, follow_symlinks=True)
            self._named = True
        self._partial.replace(self._target)
        self._named = False

    def _failed(self, error: OSError) -> UnavailableError:
        return UnavailableError(
            f"cannot write {self._target}: {error.strerror}, after {self._written} bytes",
            hint="nothing was left behind; make room or choose another place",
        )


def check_place(target: Path) -> None:
    """Raise ConfigError for what can never be a file, before time is spent on what goes in."""
    try:
        wrong = target.is_dir() or not target.parent.is_dir()
    except OSError as error:  # a name that is too long
        raise ConfigError(f"cannot write {target}: {error.strerror}") from error
    if wrong:
        raise ConfigError(f"cannot write {target}: it is a folder, or its folder does not exist")


def partial_beside(target: Path) -> Path:
    """A name for what is not complete yet, in the same folder and so on the same file system.

    It does not contain the target's, which may be as long as a name can be.
    """
    return target.with_name(f".sealserve-{secrets.token_hex(8)}.partial")


def _create_nameless(folder: Path) -> int | None:
    """A file without a name, or None where that cannot be done or could not be published."""
    if not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
    except OSError:  # not on this file system; or not at all, which the other way will say
        return None
