"""What the operator's socket tells of all calls together."""

from __future__ import annotations

from sealserve.inference.server.statistics import Counters, Spent
from sealserve.inference.server.table import FIRST_WORKER, Table, Timing
from sealserve.inference.server.totals import totals

ROOT, OTHER = "ab" * 32, "cd" * 32
TAKEN = {Timing.ANSWERED: (5, 7), Timing.FAILED: (11,), Timing.WAITED: (1, 2), Timing.RAN: (3, 4)}


def test_every_process_and_every_root_of_a_name_is_in_the_totals() -> None:
    table = Table([ROOT, OTHER], workers=2)
    assert list(totals(table)) == []
    for number, root in enumerate((ROOT, OTHER), FIRST_WORKER):
        table.describe(root, "digits", "1")
        slot = table.slot(number)
        for timing, each in TAKEN.items():
            for nanoseconds in each:
                slot.took(slot.row_of(bytes.fromhex(root)), timing, nanoseconds)
    expected = Counters(
        succeeded=4,
        succeeded_ns=24,
        failed=2,
        failed_ns=22,
        waited_ns=6,
        inferences=4,
        runs=4,
        spent=Spent(count=4, infer=14),
    )
    assert list(totals(table)) == [("digits", "1", expected)]
