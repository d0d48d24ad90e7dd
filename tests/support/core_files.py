"""Core files: whether this machine would leave them where we could look, and who left one."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from support.ready_process import SECONDS

DUMPS = (signal.SIGABRT, signal.SIGSEGV)  # both leave a core by default [signal(7)]
# Raises the soft limit, which shells set to 0, to the hard one.
LET_CORES = ("sh", "-c", 'ulimit -c "$(ulimit -H -c)"; exec "$@"', "sh")


def kept_in_folders() -> bool:
    """Whether the kernel writes cores into the folder of whoever died [core(5)].

    Where it pipes them to a program, that program gets one whatever the limit says.
    """
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    return not pattern.startswith(("|", "/"))


def taken(folder: Path) -> list[bytes]:
    """The core files in a folder, which are gone afterwards."""
    found = [path for path in folder.iterdir() if path.name.startswith("core")]
    contents = [path.read_bytes() for path in found]
    for path in found:
        path.unlink()
    return contents


def killed(process: subprocess.Popen[str], folder: Path, number: int) -> list[bytes]:
    """The core files that a process leaves which dies of a signal that dumps."""
    process.send_signal(number)
    assert process.wait(SECONDS) == -number
    return taken(folder)


def require_no_core(pid: int) -> None:
    """AssertionError if the kernel would dump this process.

    Whether it is dumpable can be seen of a user's process only: its files in /proc are root's then
    [proc(5)]. tests/inference/server/test_hardening.py looks from inside.
    """
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        if line.startswith("Max core file size")
    ]
    assert line.split()[4:6] == ["0", "0"], line
    if os.geteuid():
        assert Path(f"/proc/{pid}/mem").stat().st_uid == 0
