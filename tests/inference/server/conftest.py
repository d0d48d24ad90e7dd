"""What the server logs, for tests in its own process."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from sealserve.inference.server import events
from sealserve.keys.closed_log import ClosedLog


@pytest.fixture
def server_log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Every line it writes; the log keeps the stderr of its import, which pytest has replaced."""
    written = io.StringIO()
    with redirect_stderr(written):
        fresh = ClosedLog(events.FIELDS)
    monkeypatch.setattr(events.log, "_file", fresh._file)
    return written
