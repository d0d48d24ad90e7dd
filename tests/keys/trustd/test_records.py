"""Records at rest: what is not as it was written opens nothing, and what was answered for stays."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sealserve.keys.trustd.database import Database
from sealserve.keys.trustd.records import SCHEMA, Record, Records
from sealserve.native.errors import IntegrityError, UnavailableError
from support.models_cramped import cramped

MASTER_KEY = bytes(range(32))
ABOUT = {"attributes": {"enabled": True, "exportable": True}, "policy": "only them", "type": "oct"}


Open = Callable[..., Records]


def record(
    name: str = "model", version: str = "1", *, kind: str = "key", secret: bytes = b"the secret"
) -> Record:
    return Record(kind, name, version, {**ABOUT, "of": [name, version]}, secret)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Open the file; each is closed at the end."""
    made: list[Records] = []

    def make(master_key: bytes = MASTER_KEY) -> Records:
        made.append(Records(Database(path, SCHEMA), master_key))
        return made[-1]

    yield make
    for each in made:
        each.close()


def edit(path: Path, statement: str, *values: object) -> None:
    """Change the file as somebody without the master key would."""
    with sqlite3.connect(path) as database:
        assert database.execute(statement, values).rowcount > 0
    database.close()


def test_what_was_kept_is_found_again(opened: Open) -> None:
    kept = [record(version="1"), record(version="2"), record("other"), record(kind="service")]
    ours = opened()
    for each in kept:
        ours.add(each)
    ours.close()
    again = opened()
    assert again.find("key", "model") == kept[1]
    assert again.find("key", "model", "1") == kept[0]
    assert again.versions("key", "model") == kept[:2]
    assert again.newest("key") == kept[1:3]
    assert again.find("service", "model") == kept[3]


@pytest.mark.parametrize(
    "wanted", [("key", "model", "2"), ("key", "Model", ""), ("Key", "model", ""), ("key", "", "")]
)
def test_what_is_not_there_is_none(wanted: tuple[str, str, str], opened: Open) -> None:
    ours = opened()
    ours.add(record())
    assert ours.find(*wanted) is None
    assert ours.versions("key", "other") == []
    assert ours.newest("other") == []


def test_nothing_is_written_twice(opened: Open) -> None:
    ours = opened()
    ours.add(record())
    with pytest.raises(ValueError, match=r"there is a record Record\(key, model, 1\)"):
        ours.add(record(secret=b"another one"))
    assert ours.find("key", "model") == record()


def test_the_file_tells_no_secret(opened: Open, path: Path) -> None:
    opened().add(record(secret=b"seventeen secrets"))
    files = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert b"only them" in files
    assert b"seventeen" not in files
    assert "seventeen" not in repr(record(secret=b"seventeen secrets"))


def test_another_master_key_opens_nothing(opened: Open) -> None:
    opened().add(record())
    for wrong in (bytes(32), MASTER_KEY[:-1] + b"\0"):
        with pytest.raises(IntegrityError, match="the record key model does not open"):
            opened(wrong).find("key", "model")


# What a record is found by afterwards: its columns as they are now.
NOW_CALLED = {
    "kind": ("kind = 'service'", ("service", "model", "1")),
    "name": ("name = 'other'", ("key", "other", "1")),
    "version": ("version = '2'", ("key", "model", "2")),
    "number": ("number = number + 1", ("key", "model", "1")),
    "nonce": ("nonce = zeroblob(12)", ("key", "model", "1")),
    "a nonce cut off": ("nonce = substr(nonce, 1, 4)", ("key", "model", "1")),
    "no nonce": ("nonce = x''", ("key", "model", "1")),
    "the secret cut off": ("sealed = substr(sealed, 2)", ("key", "model", "1")),
    "no secret": ("sealed = x''", ("key", "model", "1")),
    "more behind the secret": ("sealed = CAST(sealed || x'00' AS BLOB)", ("key", "model", "1")),
}


@pytest.mark.parametrize(("change", "called"), NOW_CALLED.values(), ids=NOW_CALLED)
def test_a_record_with_one_column_changed_does_not_open(
    change: str, called: tuple[str, str, str], opened: Open, path: Path
) -> None:
    opened().add(record())
    edit(path, f"UPDATE records SET {change}")
    ours = opened()
    for ask in (
        lambda: ours.find(*called),
        lambda: ours.versions(*called[:2]),
        lambda: ours.newest(called[0]),
    ):
        with pytest.raises(IntegrityError, match="does not open"):
            ask()


FACTS = {
    "enabled": (("about", "attributes", "enabled"), False),
    "exportable": (("about", "attributes", "exportable"), False),
    "the policy": (("about", "policy"), "anybody"),
    "the type": (("about", "type"), "RSA"),
    "an entry of a list": (("about", "of", 0), "other"),
    "the kind": (("kind",), "service"),
    "the name": (("name",), "other"),
    "the version": (("version",), "2"),
    "the number": (("number",), 2),
}


@pytest.mark.parametrize(("way", "value"), FACTS.values(), ids=FACTS)
def test_a_record_with_one_fact_changed_does_not_open(
    way: tuple[Any, ...], value: object, opened: Open, path: Path
) -> None:
    opened().add(record())
    with sqlite3.connect(path) as database:
        about = json.loads(database.execute("SELECT about FROM records").fetchone()[0])
    database.close()
    *above, last = way
    inner = about
    for name in above:
        inner = inner[name]
    assert inner[last] != value
    inner[last] = value
    text = json.dumps(about, sort_keys=True, separators=(",", ":")).encode()
    edit(path, "UPDATE records SET about = ?", text)
    with pytest.raises(IntegrityError):
        opened().find("key", "model")


def test_one_byte_changed_anywhere_in_the_secret(opened: Open, path: Path) -> None:
    opened().add(record(secret=b"s"))
    with sqlite3.connect(path) as database:
        (sealed,) = database.execute("SELECT sealed FROM records").fetchone()
    database.close()
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        edit(path, "UPDATE records SET sealed = ?", bytes(changed))
        with pytest.raises(IntegrityError):
            opened().find("key", "model")


SWAPPED = {
    "secrets": ("nonce", "sealed"),
    "contents": ("about", "nonce", "sealed"),
    "facts": ("about",),
    "names": ("name",),
    "versions": ("version",),
    "places": ("number",),
}


@pytest.mark.parametrize("columns", SWAPPED.values(), ids=SWAPPED)
def test_two_records_that_changed_places_do_not_open(
    columns: tuple[str, ...], opened: Open, path: Path
) -> None:
    ours = opened()
    ours.add(record("model", "1"))
    ours.add(record("other", "2"))
    swap(path, columns)
    ours = opened()
    for each in (("key", "model"), ("key", "other")):
        with pytest.raises(IntegrityError):
            ours.find(*each)


def swap(path: Path, columns: Sequence[str]) -> None:
    """Exchange these columns of the two records there are."""
    listed = ", ".join(columns)
    with sqlite3.connect(path) as database:
        rows = database.execute(f"SELECT {listed} FROM records ORDER BY number").fetchall()
        assert len(rows) == 2
        assert rows[0] != rows[1]
        all_of_it = database.execute("SELECT * FROM records ORDER BY number").fetchall()
        names = [each[1] for each in database.execute("PRAGMA table_info(records)")]
        database.execute("DELETE FROM records")
        for row, given in zip(all_of_it, reversed(rows), strict=True):
            mixed = {**dict(zip(names, row, strict=True)), **dict(zip(columns, given, strict=True))}
            marks = ", ".join("?" for _ in names)
            database.execute(f"INSERT INTO records VALUES ({marks})", tuple(mixed.values()))
    database.close()


def test_an_old_version_cannot_be_made_the_newest(opened: Open, path: Path) -> None:
    ours = opened()
    ours.add(record(version="1"))
    ours.add(record(version="2"))
    edit(path, "UPDATE records SET number = 3 WHERE version = '1'")
    with pytest.raises(IntegrityError):
        opened().find("key", "model")


def test_two_processes_give_no_number_twice(opened: Open) -> None:
    """Each writes behind what the other wrote meanwhile."""
    one, other = opened(), opened()
    for version in range(6):
        (one, other)[version % 2].add(record(version=str(version)))
    assert [each.version for each in one.versions("key", "model")] == list("012345")


NOT_OURS = {
    "text": b"this is no database at all, and never was one" * 100,
    "another table": None,
}


@pytest.mark.parametrize("content", NOT_OURS.values(), ids=NOT_OURS)
def test_a_file_that_is_not_ours(content: bytes | None, opened: Open, path: Path) -> None:
    if content is None:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE records (x)")
        database.close()
        with pytest.raises(UnavailableError, match="cannot be used"):
            opened().find("key", "model")
    else:
        path.write_bytes(content)
        with pytest.raises(UnavailableError, match="cannot be used"):
            opened()


ADD_FOR_EVER = """
import itertools, sys
from pathlib import Path
from sealserve.keys.trustd.database import Database
from sealserve.keys.trustd.records import SCHEMA, Record, Records

records = Records(Database(Path(sys.argv[1]), SCHEMA), bytes(range(32)))
for number in itertools.count():
    records.add(Record("key", "model", str(number), {}, bytes(2000)))
    sys.stdout.buffer.raw.write(b"%d\\n" % number)
"""


def adding(path: Path, *prefix: str) -> subprocess.Popen[bytes]:
    """A process that says each version it has added."""
    command = [*prefix, sys.executable, "-I", "-c", ADD_FOR_EVER, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.parametrize("records", [1, 40])
def test_what_was_answered_for_survives_a_kill(records: int, opened: Open, path: Path) -> None:
    with adding(path) as process:
        assert process.stdout
        for _ in range(records):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        answered = records + len(process.stdout.read().splitlines())
    assert process.returncode == -signal.SIGKILL
    ours = opened()
    kept = [each.version for each in ours.versions("key", "model")]
    assert kept[:answered] == [str(number) for number in range(answered)]
    assert len(kept) - answered in (0, 1)  # one may have been written and not yet told
    ours.add(record(version="afterwards"))


def test_what_was_answered_for_is_on_the_disk(path: Path, tmp_path: Path) -> None:
    """Between any two answers the kernel was asked to write to the disk, not only to remember."""
    trace = tmp_path / "trace"
    options = ["-f", "-qq", "-y", "-e", "trace=write,fsync,fdatasync", "-o", str(trace)]
    with adding(path, "strace", *options) as process:
        assert process.stdout
        for _ in range(4):
            process.stdout.readline()
        process.stdout.close()  # the next answer ends it
    answers, synced = [], False
    for line in trace.read_text().splitlines():
        synced = synced or ("sync(" in line and path.name in line)
        if " write(1<" in line:
            answers.append(synced)
            synced = False
    assert len(answers) >= 4
    assert all(answers)


def fill(records: Records, kept: list[str]) -> None:
    """Add until it fails. kept: versions that were answered for."""
    for number in range(1000):
        records.add(record(version=str(number), secret=bytes(4000)))
        kept.append(str(number))


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with cramped(tmp_path / "small", 256) as folder:
        ours = Records(Database(folder / "records.sqlite", SCHEMA), MASTER_KEY)
        kept: list[str] = []
        with pytest.raises(UnavailableError, match="is the disk full"):
            fill(ours, kept)
        assert kept
        assert [each.version for each in ours.versions("key", "model")] == kept
        ours.close()
        again = Records(Database(folder / "records.sqlite", SCHEMA), MASTER_KEY)
        assert [each.version for each in again.versions("key", "model")] == kept
        again.close()
