"""The processes of a server, as the kernel lists them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_ESTABLISHED, _LISTENS = "01", "0A"  # include/net/tcp_states.h


def children(pid: int) -> list[int]:
    """Its children."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def descendants(pid: int) -> list[int]:
    """Its children, and theirs."""
    found = children(pid)
    return found + [each for child in found for each in descendants(child)]


def parent(pid: int) -> int:
    """Who forked it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("PPid:"):
            return int(line.split()[1])
    raise AssertionError(pid)


def threads(pid: int) -> int:
    """How many it has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def has_loaded(pid: int, library: str) -> bool:
    """Whether a file of that name is mapped."""
    return library in Path(f"/proc/{pid}/maps").read_text()


def connections(pid: int, port: int) -> int:
    """How many it has at that local port, over IPv4."""
    return _sockets(pid, port, _ESTABLISHED)


def listens(pid: int, port: int) -> bool:
    """Whether it holds what listens at that port, over IPv4."""
    return _sockets(pid, port, _LISTENS) > 0


def _sockets(pid: int, port: int, state: str) -> int:
    sockets = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            sockets.add(str(each.readlink()))
    # proc_pid_net(5): local address, remote address, state, …, inode. What changes while it is read
    # may be listed twice.
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {
        f"socket:[{line[9]}]"
        for line in lines
        if line[3] == state and line[1].endswith(f":{port:04X}")
    }
    return len(found & sockets)


def is_alive(pid: int) -> bool:
    """Whether it runs; one that ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
