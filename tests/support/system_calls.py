"""System calls of a process and its children, as strace sees them, and which of them reach a disk.

Strict on purpose: a call that failed counts as one that worked, and a path is on a disk unless it
is known to be memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Every call that takes a path, a descriptor, an address or a mapping; and one that hides others.
ALL = "%file,%desc,%network,%memory,io_uring_setup"

_CALL = re.compile(r"\d+ +(?P<name>\w+)\((?P<arguments>.*)")
_QUOTED = re.compile(r'(?:(?P<at>AT_FDCWD|\d+)<(?P<base>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"(?P<number>\d+)<(?P<path>[^>]*)>")
_FOR_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)\b")
_OPEN = re.compile(r"open|openat|openat2")
_CHANGE_PATHS = re.compile(
    r"creat|rename(at2?)?|(sym)?link(at)?|mkdir(at)?|mknod(at)?|truncate|unlink(at)?|rmdir"
    r"|(f?ch(mod|own)at2?|l?ch(mod|own))|l?(set|remove)xattr|utimes?|(utimens|futimes)at"
)
_CHANGE_FILES = re.compile(
    r"p?writev?(64|2)?|ftruncate|fallocate|sendfile|fch(mod|own)|f(set|remove)xattr|f(data)?sync"
)
# Ways that a check of single arguments would miss; nobody here has a use for them.
_OPAQUE = re.compile(r"io_uring_setup|copy_file_range|splice|tee|vmsplice|open_by_handle_at|swapon")
_MEMORY = re.compile(
    r"(socket|pipe|anon_inode|UNIX|UNIX-STREAM|UNIX-SEQPACKET):.*|/memfd:.*|/dev/null|/proc/.*"
)


def strace(out: Path, calls: str = ALL) -> list[str]:
    """A prefix that writes these calls of a command and its children to a file.

    Contents of buffers are left out: they would be plaintext on a disk.
    """
    options = ("-f", "-qqq", "-y", "-s", "0", "--seccomp-bpf")
    return ["strace", *options, "-e", f"trace={calls}", "-o", str(out)]


def child_of(pid: int) -> int:
    """The one child of a process: what strace runs."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@dataclass(frozen=True)
class Call:
    """One call. arguments: as strace writes them, with what follows."""

    name: str
    arguments: str

    def paths(self) -> Iterator[str]:
        """Every path among the arguments, absolute where its folder is known."""
        for found in _QUOTED.finditer(self.arguments):
            if found["base"] or found["path"]:  # other strings are cut to nothing
                yield os.path.normpath(Path(found["base"] or "", found["path"]))

    def descriptor(self) -> str:
        """What the first argument is open on."""
        found = _DESCRIPTOR.match(self.arguments)
        return found["path"] if found else "an unknown descriptor"


def calls_in(trace: Path) -> list[Call]:
    """What a trace holds, in order."""
    found = (_CALL.match(line) for line in trace.read_text().splitlines())
    return [Call(call["name"], call["arguments"]) for call in found if call]


def written(calls: Iterable[Call], memory: str = "") -> dict[str, set[str]]:
    """Every path that is opened for writing, written or changed, and by which calls.

    memory: a folder that counts as memory between the mount on it and its unmounting.
    """
    seen: dict[str, set[str]] = {}
    mounted = False
    for call in calls:
        if call.name in ("mount", "umount2") and memory in call.paths():
            mounted = call.name == "mount"
        for path in _changes(call):
            inside = mounted and Path(path).is_relative_to(memory)
            seen.setdefault(f"memory:{path}" if inside else path, set()).add(call.name)
    return seen


def on_disk(found: Iterable[str]) -> set[str]:
    """Of the paths that `written` found those that are not known to be memory."""
    return {
        path for path in found if not path.startswith("memory:") and not _MEMORY.fullmatch(path)
    }


def _changes(call: Call) -> Iterator[str]:
    for_writing = _OPEN.fullmatch(call.name) and _FOR_WRITING.search(call.arguments)
    if _OPAQUE.fullmatch(call.name):
        yield f"something by {call.name}"
    elif for_writing or _CHANGE_PATHS.fullmatch(call.name):
        yield from call.paths()
    elif _CHANGE_FILES.fullmatch(call.name):
        yield call.descriptor()
    elif call.name == "mmap" and "PROT_WRITE" in call.arguments:
        yield from _shared_file(call)


def _shared_file(call: Call) -> Iterator[str]:
    """What a mapping writes back to. A private one is its process's own."""
    if "MAP_SHARED" in call.arguments and "MAP_ANONYMOUS" not in call.arguments:
        found = _DESCRIPTOR.search(call.arguments)
        yield found["path"] if found else "an unknown mapping"
