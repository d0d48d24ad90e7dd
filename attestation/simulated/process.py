"""The workload as a process: dies with its parent, gets its signals, leaves nobody behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from sealserve.native.errors import ConfigError

FORWARDED: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
UMASK: Final = 0o022  # as a container runtime has it; policies are asked for the same
SIGNALLED: Final = 128  # a shell's exit status for a process that a signal ended, plus the signal

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None, use_errno=True)


class Workload:
    """One started command, its own process group, and everything it may yet start."""

    def __init__(self, process: subprocess.Popen[bytes], earlier: frozenset[int]) -> None:
        self._process = process
        self._earlier = earlier

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def signal(self, number: int) -> None:
        """Pass a signal on to the process, if it is still there."""
        self._process.send_signal(number)

    def finish(self) -> int:
        """End the process and everything it left behind; its status as a shell would give it."""
        for end in (os.kill, os.killpg):
            with contextlib.suppress(ProcessLookupError):
                end(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        while orphans := _children() - self._earlier:
            for pid in orphans:
                _end(pid)
        return status if status >= 0 else SIGNALLED - status


@dataclass(frozen=True)
class Launch:
    """A process that is to be started: everything about it."""

    command: Sequence[str]
    environment: Mapping[str, str]
    working_dir: str


def start(launch: Launch, descriptor: int) -> Workload:
    """Start the process with this one descriptor besides its standard streams.

    Raises ConfigError if there is no such command or directory.
    """
    parent, earlier = os.getpid(), _children()

    def die_with_parent() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before the line above
            os._exit(SIGNALLED + signal.SIGKILL)

    try:
        process = subprocess.Popen(  # noqa: S603 - the caller's policy decided on this command
            list(launch.command),
            env=dict(launch.environment),
            cwd=launch.working_dir,
            pass_fds=(descriptor,),
            process_group=0,
            umask=UMASK,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - the platform has one thread
        )
    except OSError as error:
        program = launch.command[0]
        raise ConfigError(
            f"cannot start {program!r} in {launch.working_dir}: {error.strerror}",
            hint=_way_out(program, error),
        ) from error
    return Workload(process, earlier)


def _way_out(program: str, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return ""
    if error.filename != program:
        return "--workdir names a directory that is not there"
    if program.startswith("/"):
        return ""
    other = (
        "name with --workdir, here and in the policy, where it starts from"
        if "/" in program
        else "let a PATH through: `sealserve policy generate --env-rule PATH=…`"
    )
    return f"write the whole path of the command, or {other}"


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Inside, processes orphaned by the workload become ours, so that none can slip away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)


@contextlib.contextmanager
def unreadable() -> Iterator[None]:
    """Inside, no process of our user may read our memory, the workload least of all; root may."""
    before = _libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    _prctl(_PR_SET_DUMPABLE, 0)
    try:
        yield
    finally:
        _prctl(_PR_SET_DUMPABLE, int(before == 1))


class Forwarder:
    """Takes the signals meant for the workload, also those that come before it has started."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._workload: Workload | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """A signal handler."""
        if self._workload is None:
            self._waiting.append(number)
        else:
            self._workload.signal(number)

    def attach(self, workload: Workload) -> None:
        """From here on signals go to this workload, those that waited first."""
        self._workload = workload
        while self._waiting:
            workload.signal(self._waiting.pop(0))


@contextlib.contextmanager
def forwarding() -> Iterator[Forwarder]:
    """Inside, signals wait for or reach the workload. Only for the main thread."""
    forwarder = Forwarder()
    before = {number: signal.signal(number, forwarder.handle) for number in FORWARDED}
    try:
        yield forwarder
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _children() -> frozenset[int]:
    """Our living children and zombies, by /proc."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return frozenset(pid for pid in pids if _parent_of(pid) == os.getpid())


def _parent_of(pid: int) -> int:
    """The parent's pid; 0 for a process that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat.rpartition(b")")[2].split()[1])  # proc_pid_stat(5): state, ppid follow the name


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
