"""A server of ours as the process it is: its ready line, its log, its end."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

SECONDS = 30.0


class ReadyProcess:
    """A process whose first line said that it is ready. ready: that line. log: its stderr."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.ready = self._first_line()

    @property
    def err(self) -> str:
        return self.log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; the exit status, and what else it wrote on stdout."""
        self.process.send_signal(number)
        more, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, more

    def _first_line(self) -> str:
        assert self.process.stdout
        guard = threading.Timer(SECONDS, self.process.kill)
        guard.start()
        try:
            return self.process.stdout.readline()
        finally:
            guard.cancel()


Ready = TypeVar("Ready", bound=ReadyProcess)


@contextmanager
def started(
    kind: type[Ready], command: Sequence[str], folder: Path, log: Path, **options: Any
) -> Iterator[Ready]:
    """The server that a command starts; killed at the end if it is still there."""
    with (
        log.open("w") as err,
        subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=err, text=True, **options
        ) as process,
    ):
        try:
            yield kind(process, log)
        finally:
            process.kill()
