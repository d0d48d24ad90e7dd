"""Refusals in the audit log: each told while there are few, counted when there are many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealserve.keys.refused import Refused
from sealserve.keys.trustd import audit
from sealserve.keys.trustd.audit import AuditLog, rows
from sealserve.keys.trustd.audit_reader import explained
from sealserve.keys.trustd.database import Database
from sealserve.keys.trustd.refusals import ROWS_AN_HOUR, WINDOW, Refusals
from sealserve.native.errors import UnavailableError
from support.attestation_simulated import NOW
from support.keys_trustd import LocalTrustd

SECOND = timedelta(seconds=1)


class Told:
    """Refusals with three rows an hour, and the log they go to."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.log = AuditLog(database, Ed25519PrivateKey.generate(), clock=lambda: NOW)
        self.refusals = Refusals(self.log, rows_an_hour=3)

    def refuse(self, count: int, late: timedelta = timedelta(), *, attested: bool = False) -> None:
        for _ in range(count):
            self.refusals.tell(NOW + late, attested=attested, key="model", reason="no")

    @property
    def entries(self) -> list[str]:
        return [row.told["entry"] for row in rows(self.database)]

    @property
    def counted(self) -> list[dict[str, Any]]:
        told = [row.told for row in rows(self.database)]
        return [each["told"] for each in told if each["entry"] == "releases_refused"]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with closing(Database(tmp_path / "log.sqlite", audit.SCHEMA)) as database:
        yield Told(database)


def test_a_few_have_a_row_each(told: Told) -> None:
    told.refuse(3)
    told.refusals.settle(NOW)
    assert told.entries == ["release_refused"] * 3


def test_many_have_no_more_rows_than_that_and_one_for_the_rest(told: Told) -> None:
    told.refuse(1000)
    assert told.entries == ["release_refused"] * 3
    told.refuse(1, WINDOW)
    assert told.entries == ["release_refused"] * 3 + ["releases_refused", "release_refused"]
    (counted,) = told.counted
    assert (counted["count"], counted["attested"]) == (997, False)
    assert counted["since"] == NOW.isoformat(timespec="seconds")
    assert counted["until"] == (NOW + WINDOW).isoformat(timespec="seconds")


def test_an_hour_is_an_hour(told: Told) -> None:
    told.refuse(4)
    told.refuse(1, WINDOW - SECOND)
    assert len(told.entries) == 3
    told.refuse(4, WINDOW)
    assert told.entries.count("release_refused") == 6
    assert [each["count"] for each in told.counted] == [2]


def test_a_clock_that_was_put_back_begins_another_hour(told: Told) -> None:
    told.refuse(5)
    told.refuse(1, -SECOND)
    assert told.entries == ["release_refused"] * 3 + ["releases_refused", "release_refused"]


def test_strangers_use_up_nothing_of_those_with_a_machine(told: Told) -> None:
    told.refuse(1000)
    told.refuse(4, attested=True)
    assert told.entries == ["release_refused"] * 6
    told.refusals.settle(NOW + SECOND)
    assert {(each["attested"], each["count"]) for each in told.counted} == {
        (True, 1),
        (False, 997),
    }
    told.refusals.settle(NOW + SECOND)  # once
    assert len(told.counted) == 2


def test_a_count_that_cannot_be_written_is_not_lost(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.refuse(5)

    def full(*_: object, **__: object) -> None:
        raise UnavailableError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(told.log, "append", full)
        for late in (timedelta(), WINDOW):
            with pytest.raises(UnavailableError):
                told.refusals.settle(NOW + late)
        with pytest.raises(UnavailableError):
            told.refuse(1, WINDOW)
    told.refusals.settle(NOW)
    assert [each["count"] for each in told.counted] == [2]


def test_the_service_rations_them_and_the_log_holds_up(trustd: LocalTrustd) -> None:
    before = len(list(rows(trustd.records.database)))
    for _ in range(ROWS_AN_HOUR + 7):
        with pytest.raises(Refused):
            trustd.release("nobody", target="a.b.c")
    found = list(rows(trustd.records.database))[before:]
    assert [row.told["entry"] for row in found] == ["release_refused"] * ROWS_AN_HOUR
    trustd.service.settle()
    (*_, last) = rows(trustd.records.database)
    assert explained(last).endswith(
        f"releases_refused: 7 more without a genuine token since "
        f"{NOW.isoformat(timespec='seconds')}"
    )
