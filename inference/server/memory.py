"""Where opened weights live: memory that ONNX Runtime maps, that nobody else sees or swaps out.

Three ways, the first possible one is taken and named in the ready line:

  private-tmpfs     a tmpfs in a mount namespace of ours; dies with the process, mapped without a
                    second copy, each file unlinked as soon as the runtime has mapped it
  shared-memory     the same in a fresh folder of /dev/shm, if that is a tmpfs and large enough; a
                    crash before the unlinking leaves the folder
  anonymous-memory  memfds, from which the runtime makes one copy more (it accepts no path to them)

Never a path on a disk. With swap on, only a mount that is never swapped will do, and the whole
process is locked into memory too, because the runtime's prepacked weights are its own copies.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sealserve.inference.server.hardening import Hardened, PrivateMount
from sealserve.native.errors import ConfigError

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  used below only through a fresh 0700 folder
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # linux/mman.h
# models/SPEC.md, section 6: what the entries with weights are called.
_NAME = re.compile(r"weights/([0-9]{5,9}|small)")


class WeightsPlace(Protocol):
    """A `models.Place` for one model that also knows how the runtime reaches the weights.

    directory: the folder the weights' names are below, or "" where they have no path.
    buffers: name and descriptor of each file that has no path.
    """

    @property
    def directory(self) -> str: ...

    @property
    def buffers(self) -> dict[str, int]: ...

    @property
    def holds_files(self) -> bool:
        """Whether there is still one that can be opened."""

    def wants(self, name: str) -> bool:
        """Weights alone: a server needs no other file of a model."""

    def create(self, name: str, size: int) -> int:
        """An empty file of `size` bytes to fill."""

    def finish(self) -> None:
        """Every file is complete: nothing more is written."""

    def forget(self, name: str) -> None:
        """Unlink one file: the runtime has mapped it."""

    def clear(self) -> None:
        """Leave nothing that can be opened; what is mapped stays."""

    def wipe(self) -> None:
        """Give up: empty every file, then `clear`."""


class MountedPlace:
    """Files in a folder that is memory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self._folder = directory
        self._files: dict[str, Path] = {}
        self._written: list[int] = []

    @property
    def directory(self) -> str:
        return str(self._folder)

    @property
    def buffers(self) -> dict[str, int]:
        return {}

    @property
    def holds_files(self) -> bool:
        return bool(self._files)

    def wants(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None

    def create(self, name: str, size: int) -> int:
        path = self._folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        os.ftruncate(descriptor, size)
        self._files[name] = path
        self._written.append(descriptor)
        return descriptor

    def finish(self) -> None:
        while self._written:
            os.close(self._written.pop())

    def forget(self, name: str) -> None:
        path = self._files.pop(name, None)
        if path is not None:
            path.unlink()

    def clear(self) -> None:
        self.finish()
        self._files.clear()
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def wipe(self) -> None:
        for path in self._files.values():
            os.truncate(path, 0)
        self.clear()


class AnonymousPlace:
    """memfds: no path at all, so the runtime has to be handed their contents."""

    directory = ""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}

    @property
    def buffers(self) -> dict[str, int]:
        return dict(self._files)

    @property
    def holds_files(self) -> bool:
        return bool(self._files)

    def wants(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None

    def create(self, name: str, size: int) -> int:
        descriptor = os.memfd_create("sealserve", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, size)
        self._files[name] = descriptor
        return descriptor

    def finish(self) -> None:
        pass  # the descriptors are what the runtime is handed

    def forget(self, name: str) -> None:
        descriptor = self._files.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)

    def clear(self) -> None:
        for name in list(self._files):
            self.forget(name)

    def wipe(self) -> None:
        for descriptor in self._files.values():
            os.ftruncate(descriptor, 0)
        self.clear()


@dataclass(frozen=True, slots=True)
class Memory:
    """The way taken, for all models of a process. folder: None where nothing has a path.

    Use it in a `with` block: every model is loaded at its end, or none will be, and the folder
    goes away.
    """

    way: str
    folder: Path | None
    _leave: Callable[[], None]

    def place(self, number: int) -> WeightsPlace:
        """Room for the weights of one more model."""
        return MountedPlace(self.folder / str(number)) if self.folder else AnonymousPlace()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()


def choose(hardened: Hardened, weights_bytes: int, *, swap: bool) -> Memory:
    """The best memory there is for that many bytes; ConfigError when swap makes all of it unfit."""
    mount = hardened.mount
    if swap:
        return _despite_swap(mount)
    if mount is not None:
        return Memory("private-tmpfs", Path(mount.directory), mount.detach)
    if _is_tmpfs(SHARED_MEMORY) and _free_bytes(SHARED_MEMORY) >= weights_bytes:
        folder = SHARED_MEMORY / f"sealserve-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        return Memory("shared-memory", folder, lambda: shutil.rmtree(folder))
    return Memory("anonymous-memory", None, lambda: None)


def swap_is_on(swaps: str = "/proc/swaps") -> bool:
    """Whether the kernel could write memory to a disk; the file has one line of headings."""
    return len(Path(swaps).read_text().splitlines()) > 1


def keep_from_swap() -> None:
    """Lock this process's memory if swap is on; ConfigError if that cannot be done.

    For whoever holds a secret: a forked child has its parent's memory and none of its locks.
    """
    if swap_is_on():
        _lock_memory()


def _despite_swap(mount: PrivateMount | None) -> Memory:
    if mount is None or not mount.never_swapped:
        raise ConfigError(
            "swap is on and there is no tmpfs that is never swapped; weights could reach a disk",
            hint="switch swap off, or run as root with CAP_SYS_ADMIN on Linux 6.4 or later",
        )
    _lock_memory()
    return Memory("private-tmpfs", Path(mount.directory), mount.detach)


def _lock_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        raise ConfigError(
            f"swap is on and memory cannot be locked: {os.strerror(ctypes.get_errno())}",
            hint="switch swap off, or give the server CAP_IPC_LOCK",
        )


def _is_tmpfs(path: Path, mounts: str = "/proc/self/mounts") -> bool:
    """Whether a mount of exactly this path is a tmpfs; the last one listed covers the others."""
    kinds = [line.split()[2] for line in Path(mounts).read_text().splitlines()
             if line.split()[1] == str(path)]  # fmt: skip
    return bool(kinds) and kinds[-1] == "tmpfs"


def _free_bytes(path: Path) -> int:
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize
