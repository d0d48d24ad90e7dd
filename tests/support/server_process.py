"""`sealserve serve` as the process it is in the field, with a simulated machine to ask."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealserve.attestation.simulated import SOCKET_VARIABLE, Machine, platform
from sealserve.inference.wire.address import parse_address
from support import ready_process
from support.h2_socket import encrypted
from support.ready_process import SECONDS, ReadyProcess
from support.system_calls import calls_in, strace

SEALSERVE = (sys.executable, "-I", "-m", "sealserve")
_READY = re.compile(r"ready: .*; on (\S+:[0-9]+); ")


@contextmanager
def answering(machine: Machine) -> Iterator[int]:
    """A descriptor over which a process may ask this machine for reports, as from `tee run`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def answer() -> None:
        while platform._answer_one(ours, machine):
            pass

    thread = threading.Thread(target=answer)
    thread.start()
    with ours:
        with theirs:
            yield theirs.fileno()
        thread.join(SECONDS)  # nobody is left who could ask, so it ends


def clean_environment(**more: str) -> dict[str, str]:
    """What a server may have in its environment."""
    return {"PATH": os.environ["PATH"], "HOME": "/", **more}


def verb(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A verb of the command line, run in this folder to its end."""
    return subprocess.run(
        [*SEALSERVE, *arguments],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@dataclass(frozen=True)
class Ended:
    """What is left of a start. listened: whether it ever waited for connections."""

    status: int
    out: str
    err: str
    listened: bool

    @property
    def words(self) -> str:
        """What a person reads: stderr without the log."""
        return "".join(line for line in self.err.splitlines(True) if not line.startswith("{"))


def serve(
    folder: Path,
    arguments: Sequence[str],
    machine: Machine | None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run `sealserve serve ARGUMENTS` in the folder to its end, and note whether it listens.

    machine: None where there is none. environment: what is more than clean in it.
    """
    more = environment or {}
    if machine is None:
        return _traced(folder, arguments, clean_environment(**more), ())
    with answering(machine) as descriptor:
        announced = clean_environment(**{SOCKET_VARIABLE: str(descriptor)}, **more)
        return _traced(folder, arguments, announced, (descriptor,))


def _traced(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], keep: Sequence[int]
) -> Ended:
    trace = folder.with_name(f"{folder.name}.trace")
    # The variables are for the server and not for strace, which obeys LD_PRELOAD too.
    given = [part for name, value in environment.items() for part in ("-E", f"{name}={value}")]
    ran = subprocess.run(
        [*strace(trace, "listen"), *given, *SEALSERVE, "serve", *arguments],
        cwd=folder,
        env=clean_environment(),
        pass_fds=keep,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Ended(ran.returncode, ran.stdout, ran.stderr, bool(calls_in(trace)))


def certificate_of(target: str) -> str:
    """The certificate a server shows (PEM), as the standard library gets it; nothing verified."""
    with encrypted(parse_address(target, default_port=0), SECONDS) as shown:
        return ssl.DER_cert_to_PEM_cert(shown.getpeercert(binary_form=True) or b"")


def target_of(ready: str, err: str = "") -> str:
    """Where a server listens, by its ready line. err: what to show if that is none."""
    found = _READY.match(ready)
    assert found, f"{ready}{err}"
    return found[1]


class Server(ReadyProcess):
    """A server that says it is ready. ready: its line. target: where it listens."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        super().__init__(process, log)
        self.target = target_of(self.ready, self.err)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log so far."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


def started(
    command: Sequence[str], folder: Path, log: Path, **options: Any
) -> AbstractContextManager[Server]:
    """The server that a command starts; killed at the end if it is still there."""
    return ready_process.started(Server, command, folder, log, **options)


@contextmanager
def serving(
    folder: Path,
    arguments: Sequence[str],
    machine: Machine,
    *,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """`sealserve serve ARGUMENTS` in the folder. prefix: a command that runs it."""
    with answering(machine) as descriptor:
        more = {SOCKET_VARIABLE: str(descriptor), **(environment or {})}
        command = [*prefix, *SEALSERVE, "serve", *arguments]
        log = folder.with_name(f"{folder.name}.err")
        options: Any = {"env": clean_environment(**more), "pass_fds": (descriptor,)}
        with started(command, folder, log, **options) as server:
            yield server
