"""A server in a process of its own, from the line that says it is ready until it is told to end."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_SECONDS = 20.0


@contextmanager
def running(
    command: Sequence[object],
    ready: re.Pattern[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """The process, which leads a group, and what `ready` found on its standard output.

    RuntimeError if it found nothing.
    """
    with subprocess.Popen(
        [*map(str, command)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    ) as process:
        try:
            assert process.stdout is not None
            found = next((one for line in process.stdout if (one := ready.search(line))), None)
            if found is None:
                raise RuntimeError(f"{command[0]} ended and was never ready")
            yield process, found
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
