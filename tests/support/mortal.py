"""A process that is killed over and over, at moments that nobody chose, and started again."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field

from sealserve.native.errors import UnavailableError

STARTING_SECONDS = 2.0  # half of the kills come in the first so many, whatever it does then
WORKING_SECONDS = 1.0  # and half in so many after it did something
PATIENCE_SECONDS = 120.0  # for one life to do something, on a machine that does much else
_LOOK_SECONDS = 0.02


@dataclass
class Mortal:
    """start: one life. heard: told each line it prints. done: how much it has done, in all lives.

    mourn: called after each death. settled: once all deaths are behind it and it is at work again.
    """

    name: str
    start: Callable[[], AbstractContextManager[subprocess.Popen[str]]]
    heard: Callable[[str], None]
    done: Callable[[], int]
    mourn: Callable[[], None] = lambda: None
    settled: threading.Event = field(default_factory=threading.Event)

    def live(self, kills: int, seed: int, over: threading.Event) -> None:
        """Be killed so many times, then work until it is over."""
        moments = random.Random(f"{self.name} {seed}")
        left = kills
        while left and not over.is_set():
            with self._life() as process:
                self._wait(process, moments)
                left -= _killed(process)
            self.mourn()
        while not over.is_set():
            with self._life() as process:
                self._work(process, over)

    @contextmanager
    def _life(self) -> Iterator[subprocess.Popen[str]]:
        with self.start() as process:
            listening = threading.Thread(target=self._listen, args=(process,))
            listening.start()
            try:
                yield process
            finally:
                process.kill()
                process.wait()
                listening.join()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            if line.endswith("\n"):  # the last one may have been cut off
                self.heard(line)

    def _wait(self, process: subprocess.Popen[str], moments: random.Random) -> None:
        if moments.random() < 0.5:
            seconds = moments.uniform(0, STARTING_SECONDS)
        else:
            self._until_it_works(process, threading.Event())
            seconds = moments.uniform(0, WORKING_SECONDS)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)

    def _work(self, process: subprocess.Popen[str], over: threading.Event) -> None:
        if self._until_it_works(process, over):
            self.settled.set()
        while process.poll() is None and not over.wait(_LOOK_SECONDS):
            pass
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
        else:
            _require_gave_up(process)

    def _until_it_works(self, process: subprocess.Popen[str], over: threading.Event) -> bool:
        """Whether it did something before it ended, or everything was over."""
        before = self.done()
        for _ in range(int(PATIENCE_SECONDS / _LOOK_SECONDS)):
            if self.done() > before:
                return True
            if process.poll() is not None or over.wait(_LOOK_SECONDS):
                return False
        raise AssertionError(f"{self.name} did nothing in {PATIENCE_SECONDS} s")


def _killed(process: subprocess.Popen[str]) -> bool:
    """Whether it died of us; else it had given up by itself."""
    process.kill()
    if process.wait() == -signal.SIGKILL:
        return True
    _require_gave_up(process)
    return False


def _require_gave_up(process: subprocess.Popen[str]) -> None:
    """Because of another that is dead just now; whoever runs it starts it again."""
    assert process.returncode == UnavailableError.exit_code, process.args
