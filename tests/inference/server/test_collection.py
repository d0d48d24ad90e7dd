"""Garbage is collected again where calls are answered, though nothing was while models opened."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What it needs of the others is made up: a worker whose server says what it sees once it listens,
# alone or forked by those who keep the models.
PROGRAM = """
import gc
import os
import sys
from types import SimpleNamespace

gc.disable()  # as `serve` does before anything is loaded
from sealserve.inference.server import channel, crew, server, worker
from sealserve.inference.server.table import Share, Table
from sealserve.inference.server.worker import Duty

class Server:
    def __init__(self, *_given, **_more):
        pass

    async def start(self):
        pass

    async def stop(self):
        print(gc.isenabled(), gc.get_freeze_count() > 1000, flush=True)

server.Server = Server
ours, theirs = channel.pair()
share = Share(Table(["00" * 32], 1), 0, 1)
duty = Duty(SimpleNamespace(workers=1), None, None, lambda: None, 0, share)
if os.fork() == 0:
    theirs.close()
    ours.receive()  # it listens
    ours.close()  # and nobody is left
    os._exit(0)
ours.close()
status = worker.serve(duty, theirs) if sys.argv[1] == "alone" else crew.Crew(duty, theirs).run()
sys.exit(status)
"""


@pytest.mark.parametrize("how", ["alone", "forked"])
def test_whoever_answers_collects_garbage(how: str) -> None:
    """What was loaded before is not looked at: no page that workers share is written to."""
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (told.returncode, told.stdout) == (0, "True True\n"), told.stderr
