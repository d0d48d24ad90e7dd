"""Makes this process a poor place to read secrets from, before there are any.

The order matters (man pages in brackets):

  1. RLIMIT_CORE 0: no core file, whatever happens later [core(5)].
  2. A mount namespace of our own. Only while there is one thread: `unshare` moves just the calling
     one [unshare(2)]. Without CAP_SYS_ADMIN a user namespace is tried, whose id maps have to be
     written while /proc/self is still ours.
  3. PR_SET_DUMPABLE 0: no ptrace, no /proc/PID/mem for others of our user [prctl(2)].

A forked child has all three from its parent. One that opens models goes a step further: a tmpfs in
a namespace of its own, that no other process of ours sees either and that dies with it.

Imports nothing that starts a thread, so that `serve` can call it before numpy or ONNX Runtime do.
A child that calls exec has to harden itself again: exec resets step 3.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from sealserve.native import dumps

_CLONE_NEWNS = 0x00020000  # linux/sched.h
_CLONE_NEWUSER = 0x10000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8  # linux/mount.h
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2

# Covered only inside our own namespace. Every container has it, and a path below it is memory
# even for a reader who knows nothing of the mount.
MOUNT_POINT = "/dev/shm"  # noqa: S108  it is the point that this is a shared path outside
# Best first. `noswap` needs Linux 6.4 and privilege in the first user namespace; huge pages only
# exist for tmpfs where the mount asks for them.
_MOUNT_OPTIONS = ("noswap,huge=within_size", "noswap", "huge=within_size", "")
_SPARE_BYTES = 16 * 2**20  # directories, and the rounding of each file to a huge page

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class PrivateMount:
    """A tmpfs that no other process sees. options: those of _MOUNT_OPTIONS that the kernel took."""

    directory: str
    options: str

    @property
    def never_swapped(self) -> bool:
        return "noswap" in self.options.split(",")

    def detach(self) -> None:
        """Take it out of the tree; what is mapped lives until it is unmapped."""
        _call("umount2", self.directory.encode(), _MNT_DETACH)


@dataclass(frozen=True, slots=True)
class Hardened:
    """What was reached. why_no_mount: the kernel's answer where there is no private mount."""

    mount: PrivateMount | None
    why_no_mount: str = ""


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where a hardened process and its children are. why_not: why it is not theirs alone."""

    why_not: str = ""

    def mount(self, weights_bytes: int) -> Hardened:
        """A tmpfs of at most so many bytes that this process alone sees, if that can be had."""
        if self.why_not:
            return Hardened(None, self.why_not)
        try:
            _require_one_thread()
            _call("unshare", _CLONE_NEWNS)
            return Hardened(PrivateMount(MOUNT_POINT, _mount_tmpfs(weights_bytes + _SPARE_BYTES)))
        except OSError as error:
            return Hardened(None, f"{error.filename}: {error.strerror}")


def harden() -> Namespace:
    """Harden this process, and with it those that it forks."""
    dumps.no_core_files()
    namespace = _own_namespace()
    dumps.set_undumpable()
    return namespace


def _own_namespace() -> Namespace:
    try:
        _require_one_thread()
        _unshare()
        _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    except OSError as error:
        return Namespace(f"{error.filename}: {error.strerror}")
    return Namespace()


def _require_one_thread() -> None:
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise OSError(errno.EINVAL, "the process already had several threads", "unshare")


def _unshare() -> None:
    try:
        _call("unshare", _CLONE_NEWNS)
    except PermissionError:
        user, group = os.geteuid(), os.getegid()
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNS)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")


def _mount_tmpfs(size: int) -> str:
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    refusal: OSError | None = None
    for options in _MOUNT_OPTIONS:
        data = ",".join(filter(None, ("mode=700", f"size={size}", options)))
        try:
            _call("mount", b"sealserve", MOUNT_POINT.encode(), b"tmpfs", flags, data.encode())
        except OSError as error:
            refusal = error
        else:
            return options
    assert refusal is not None
    raise refusal


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _call(name: str, *arguments: int | bytes | None) -> None:
    widened = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    if getattr(_libc, name)(*widened) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
