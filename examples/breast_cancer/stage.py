"""How the demo is told: numbered steps, the commands a person would type, and what they printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

HERE = Path(__file__).resolve().parent
# A page that fits the terminal, and a hundred columns where there is none.
WIDTH = min(100, max(60, shutil.get_terminal_size((100, 24)).columns))
READY_SECONDS = 45
STOP_SECONDS = 10


class SurpriseError(Exception):
    """A step did not end the way the story says; the demo stops with exit code 1."""


@dataclass
class Stage:
    """Runs commands in `workdir`, shows them shortened, and leaves nothing running."""

    workdir: Path
    console: Console = field(default_factory=lambda: Console(highlight=False, width=WIDTH))
    started: float = field(default_factory=time.monotonic)
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    steps: int = 0

    def banner(self, title: str, text: str) -> None:
        self.console.print(Panel(text, title=title, border_style="yellow", width=WIDTH))

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.print(Rule(f"[bold]{title}[/]", align="left", style="dim"))

    def step(self, who: str, what: str) -> None:
        self.steps += 1
        seconds = time.monotonic() - self.started
        self.console.print(f"\n[bold cyan]{self.steps:2}[/]  [bold]{who}[/]: {what}", end="")
        self.console.print(f"  [dim]at {seconds:.1f} s[/]")

    def note(self, text: str) -> None:
        self._lines(text, "    ", "      ")

    def good(self, text: str) -> None:
        self.console.print(Text.assemble("    ", ("✓ ", "bold green"), text))

    def run(self, *arguments: str, show: Callable[[str], list[str]] | None = None) -> str:
        """Run `sealserve ARGUMENTS`; returns its stdout. Anything but success is a surprise."""
        self._command(arguments)
        ran = self._call(arguments)
        if ran.returncode:
            raise SurpriseError(f"exit {ran.returncode}\n{ran.stdout}{ran.stderr}")
        for line in show(ran.stdout) if show else []:
            self.note(line)
        return ran.stdout

    def refused(self, by: str, expected: int, *arguments: str) -> str:
        """Run a command that must be refused with this exit code; shows and returns its words."""
        self._command(arguments)
        ran = self._call(arguments)
        if ran.returncode != expected:
            raise SurpriseError(f"exit {ran.returncode}, not {expected}\n{ran.stdout}{ran.stderr}")
        self.words(ran.stderr)
        self.console.print(
            Text.assemble("    ", ("✗ refused", "bold red"), f" by {by}, exit {expected}")
        )
        return ran.stderr

    def words(self, text: str) -> None:
        """What the person at that terminal reads, but for the simulator's banner."""
        lines = [
            line for line in text.splitlines() if line.startswith(("sealserve:", "hint:", " "))
        ]
        for line in lines:
            self._lines(self._short(line), "    │ ", "    │     ", style="red")

    def start(self, *arguments: str, ready: str) -> str:
        """Start a server and wait for the line of its stdout that contains `ready`."""
        self._command(arguments)
        process = subprocess.Popen(
            self._argv(arguments),
            cwd=self.workdir,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=(self.workdir / f"{arguments[0]}.log").open("w"),
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return self._wait_for(process, ready, arguments[0])

    def stop(self) -> None:
        """End the server started last, as an operator would."""
        process = self.running.pop()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise SurpriseError("a server did not stop when asked to") from None

    def stop_everything(self) -> None:
        while self.running:
            self.stop()

    def _wait_for(self, process: subprocess.Popen[str], ready: str, name: str) -> str:
        assert process.stdout is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            line = process.stdout.readline()
            if ready in line:
                return line.strip()
            if not line and process.poll() is not None:
                break
        raise SurpriseError(f"{name} did not start\n{(self.workdir / f'{name}.log').read_text()}")

    def _call(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._argv(arguments),
            cwd=self.workdir,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
        )

    def _argv(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-I", "-m", "sealserve", *arguments]

    def _command(self, arguments: Sequence[str]) -> None:
        line = self._short(shlex.join(["sealserve", *arguments]))
        self._lines(line, "    $ ", "        ", style="green")

    def _lines(self, text: str, first: str, others: str, style: str = "") -> None:
        """Print text at the width of the page, continued further to the right."""
        folded = textwrap.wrap(
            text,
            WIDTH,
            initial_indent=first,
            subsequent_indent=others,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in folded:
            self.console.print(Text(line, style=style), soft_wrap=True)

    def _short(self, line: str) -> str:
        """Long hexadecimal and long paths in a form a person can read."""
        for long, short in (
            (f"{sys.executable} -I -m sealserve", "sealserve"),
            (f'"{sys.executable}", "-I", "-m", "sealserve"', '"sealserve"'),
            (f"{self.workdir}/", ""),
            (f"{HERE}/", ""),
        ):
            line = line.replace(long, short)
        return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{20,}([0-9a-f]{4})\b", r"\1…\2", line)


def clean_environment() -> dict[str, str]:
    """Nothing of the caller's shell but what a terminal needs."""
    return {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
