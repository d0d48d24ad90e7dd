"""ModelStatistics of all callers and processes together, for the operator's socket.

Out of the table, which does not know how many rows a request had: that is its caller's. So there is
one inference and one run for each prediction that was answered, and no sizes of batches.
"""

from __future__ import annotations

from collections.abc import Iterator

from sealserve.inference.server.statistics import Counters, Spent
from sealserve.inference.server.table import Row, Table, Timing


def totals(table: Table) -> Iterator[tuple[str, str, Counters]]:
    """Name, version and counters of every model that was opened."""
    for (name, version), row in table.models().items():
        yield name, version, _counters(row)


def _counters(row: Row) -> Counters:
    answered, failed = row.durations(Timing.ANSWERED), row.durations(Timing.FAILED)
    ran = row.durations(Timing.RAN)
    return Counters(
        succeeded=answered.count,
        succeeded_ns=answered.nanoseconds,
        failed=failed.count,
        failed_ns=failed.nanoseconds,
        waited_ns=row.durations(Timing.WAITED).nanoseconds,
        inferences=answered.count,
        runs=answered.count,
        spent=Spent(count=ran.count, infer=ran.nanoseconds),
    )
