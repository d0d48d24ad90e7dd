"""The table: what each process writes is what readers add up, whoever lives and dies."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sealserve.inference.server.events import Event
from sealserve.inference.server.table import (
    BUCKETS_MS,
    FIRST_WORKER,
    METHODS,
    NO_MODEL,
    OK,
    OUTCOMES,
    Slot,
    State,
    Table,
    Timing,
    method_number,
)
from sealserve.inference.wire import names

FIRST, SECOND = "ab" * 32, "cd" * 32
MILLISECOND = 1_000_000
INFER = method_number("ModelInfer")
NOT_FOUND = OUTCOMES.index("not_found")


@pytest.fixture
def table() -> Table:
    return Table((FIRST, SECOND), workers=2)


def one_call(slot: Slot, row: int, method: int, outcome: int) -> None:
    slot.enter()
    slot.leave(row, method, outcome)


def in_a_child(work) -> None:
    """Do it in a process that shares the table and ends without a goodbye."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)


def test_slots_are_added_up(table: Table) -> None:
    for number in (0, 2):
        slot = table.slot(number)
        row = slot.row_of(bytes.fromhex(SECOND))
        one_call(slot, row, INFER, OK)
        slot.took(row, Timing.RAN, 3 * MILLISECOND)
    assert table.row(SECOND).calls("ModelInfer", "ok") == 2
    assert table.row(SECOND).durations(Timing.RAN).nanoseconds == 6 * MILLISECOND
    for other in ("", FIRST):
        assert not any(table.row(other).cells)


def test_a_call_that_names_no_model_has_a_row(table: Table) -> None:
    one_call(table.slot(0), NO_MODEL, INFER, NOT_FOUND)
    assert table.row().calls("ModelInfer", "not_found") == 1
    assert not any(table.row(FIRST).cells)


def test_a_child_writes_where_its_parent_reads(table: Table) -> None:
    in_a_child(lambda: one_call(table.slot(FIRST_WORKER), NO_MODEL, INFER, OK))
    assert table.row().calls("ModelInfer", "ok") == 1


def test_every_method_and_outcome_has_a_cell_of_its_own(table: Table) -> None:
    slot = table.slot(0)
    row = slot.row_of(bytes.fromhex(FIRST))
    for method in range(len(METHODS)):
        for outcome in range(len(OUTCOMES)):
            one_call(slot, row, method, outcome)
    for timing in Timing:
        for end in BUCKETS_MS:
            slot.took(row, timing, end * MILLISECOND)
    counts = table.row(FIRST)
    assert {counts.calls(m, o) for m in METHODS for o in OUTCOMES} == {1}
    assert {counts.durations(t).counts for t in Timing} == {(1,) * len(BUCKETS_MS) + (0,)}
    assert {counts.durations(t).nanoseconds for t in Timing} == {sum(BUCKETS_MS) * MILLISECOND}


@pytest.mark.parametrize(
    ("nanoseconds", "bucket"),
    [
        (0, 0),
        (MILLISECOND, 0),
        (MILLISECOND + 1, 1),
        (60_000 * MILLISECOND, len(BUCKETS_MS) - 1),
        (60_000 * MILLISECOND + 1, len(BUCKETS_MS)),
    ],
)
def test_a_bucket_holds_its_end(table: Table, nanoseconds: int, bucket: int) -> None:
    table.slot(0).took(NO_MODEL, Timing.WAITED, nanoseconds)
    counts = table.row().durations(Timing.WAITED).counts
    assert [number for number, count in enumerate(counts) if count] == [bucket]


def test_who_takes_the_place_of_a_dead_process_goes_on_counting(table: Table) -> None:
    def work() -> None:
        slot = table.slot(FIRST_WORKER)
        slot.begin()
        slot.state(State.SERVING)
        slot.serves([bytes.fromhex(FIRST)])
        one_call(slot, slot.row_of(bytes.fromhex(FIRST)), INFER, OK)
        slot.enter()  # and it dies over this one

    in_a_child(work)
    assert (table.under_way(), table.workers_of(FIRST)) == (1, 1)
    table.slot(FIRST_WORKER).state(State.ENDED)
    assert (table.under_way(), table.workers_of(FIRST)) == (0, 0)
    in_a_child(work)
    assert (table.under_way(), table.workers_of(FIRST)) == (1, 1)
    assert table.row(FIRST).calls("ModelInfer", "ok") == 2


def test_a_model_is_served_by_those_who_serve(table: Table) -> None:
    slot = table.slot(FIRST_WORKER)
    slot.begin()
    slot.serves([bytes.fromhex(SECOND)])
    assert table.states() == (State.STARTING, State.UNUSED)
    assert table.workers_of(SECOND) == 0
    slot.state(State.SERVING)
    assert (table.workers_of(FIRST), table.workers_of(SECOND)) == (0, 1)
    slot.serves([])
    assert table.workers_of(SECOND) == 0


def test_a_model_has_the_name_that_its_header_has(table: Table) -> None:
    assert table.labels() == (None, None)
    in_a_child(lambda: table.describe(SECOND, "n" * 128, "v" * 64))
    first, second = table.labels()
    assert first is None
    assert (second.name, second.version, second.root) == ("n" * 128, "v" * 64, SECOND)


def test_events_are_counted(table: Table) -> None:
    table.slot(0).logged(Event.STOPPED)
    table.slot(2).logged(Event.STOPPED)
    assert {event for event, count in table.events().items() if count} == {Event.STOPPED}
    assert table.events()[Event.STOPPED] == 2


def test_methods_are_the_protocols() -> None:
    services = tuple(f"/{name}/" for name in (names.INFERENCE_SERVICE, names.ATTESTATION_SERVICE))
    paths = [value for value in vars(names).values() if str(value).startswith(services)]
    assert {path.rpartition("/")[2] for path in paths} <= set(METHODS)


def test_whoever_makes_a_table_has_not_loaded_grpc() -> None:
    code = "import sys, sealserve.inference.server.table; print('grpc' in sys.modules)"
    ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
