"""What happens to a loaded model before its first caller: runs that warm it up, and a test."""

from __future__ import annotations

import dataclasses
from typing import Final

from sealserve.inference.server.events import Event, log
from sealserve.inference.server.independence import why_dependent
from sealserve.inference.server.made_up import warm_up
from sealserve.inference.server.registry import ServedSession
from sealserve.native.errors import ConfigError, printable

_TRIED_ROWS: Final = 8
_WORTH_WAITING: Final = 2.0  # times faster than one by one


def prepared(model: ServedSession, *, declared: bool) -> ServedSession:
    """The same model, warm, and with the answer whether requests may share its runs.

    declared: its owner says that rows leave each other alone. Raises ConfigError where the
    configuration requires batching and there can be none.
    """
    options = model.options
    seconds = warm_up(model.session, options.warm_up_runs)
    shares = _shares_runs(model, declared=declared)
    if shares and options.running is None:
        options = dataclasses.replace(options, running=_turns(model))
    return dataclasses.replace(model, options=options, run_seconds=seconds, shares_runs=shares)


def _turns(model: ServedSession) -> int | None:
    """One run at a time where a joined run takes little more than a single one.

    Two of them at once would share what waits, and each reads all weights for half of it.
    """
    rows = min(_TRIED_ROWS, model.options.batch_rows)
    runs = model.options.warm_up_runs
    alone = warm_up(model.session, runs)  # anew: its very first run may have been a slow one
    together = warm_up(model.session, runs, rows=rows)
    return 1 if together < rows * alone / _WORTH_WAITING else None


def _shares_runs(model: ServedSession, *, declared: bool) -> bool:
    wanted = model.options.batching
    if wanted == "off":
        return False
    if not declared:
        why = "its owner did not declare rows independent (seal --batch-independent)"
    else:
        why = why_dependent(model.session, model.options.batch_rows) or ""
    if why and wanted == "required":
        raise ConfigError(
            f"model {printable(model.name)} version {printable(model.version)}: {why}",
            key="batching",
            hint='batching = "auto" serves it without',
        )
    if why and declared:
        log(Event.BATCHING_OFF, model=model.name, version=model.version, why=why)
    return not why
