"""The limit of file descriptors fits the limit of connections, or the log says that it cannot."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.ready_process import SECONDS

CODE = """
import resource, sys
from sealserve.inference.server import descriptors
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
descriptors.allow(1000)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "after", "logged"),
    [
        (256, 4000, 1256, False),
        (256, 1256, 1256, False),
        (256, 300, 300, True),
        (1255, 1255, 1255, True),
        (3000, 4000, 3000, False),
    ],
)
def test_the_limit_is_raised_as_far_as_it_can_be(
    soft: int, hard: int, after: int, logged: bool
) -> None:
    command = [sys.executable, "-P", "-c", CODE, str(soft), str(hard)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert ran.stdout == f"{after} {hard}\n", ran.stderr
    events = [json.loads(line) for line in ran.stderr.splitlines()]
    told = [(event["event"], event["allowed"], event["wanted"]) for event in events]
    assert told == ([("descriptors_few", after, 1256)] if logged else [])
