"""The cache on disk: whole files or none, for this user alone, and never in the way."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from sealserve.attestation import Report
from sealserve.attestation.devices.cache import Cache, directory_of, leaf_name, list_name
from support.attestation_vectors import vector


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "below" / "amd")


def test_what_was_put_is_there_for_the_next(cache):
    assert cache.get("a.vcek") is None
    cache.put("a.vcek", b"leaf")
    cache.put("a.vcek", b"newer")
    assert Cache(cache.directory).get("a.vcek") == b"newer"
    assert [path.name for path in cache.directory.iterdir()] == ["a.vcek"]
    assert cache.trouble == ""


def test_nobody_else_reads_or_writes(cache):
    before = os.umask(0)
    try:
        cache.put("a.vcek", b"leaf")
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((cache.directory / "a.vcek").stat().st_mode) == 0o600


def test_a_name_that_leads_elsewhere_is_not_followed(cache, tmp_path):
    cache.put("a.vcek", b"leaf")
    (tmp_path / "elsewhere").write_bytes(b"other")
    (cache.directory / "b.vcek").symlink_to(tmp_path / "elsewhere")
    assert cache.get("b.vcek") is None
    cache.put("b.vcek", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"other"
    assert cache.get("b.vcek") == b"ours"


@pytest.mark.parametrize("content", [b"", bytes(16 * 1024 + 1)])
def test_a_file_unlike_ours_is_none(cache, content):
    cache.put("a.vcek", b"leaf")
    (cache.directory / "a.vcek").write_bytes(content)
    assert cache.get("a.vcek") is None


def test_a_pipe_does_not_make_us_wait(cache):
    cache.put("a.vcek", b"leaf")
    os.mkfifo(cache.directory / "b.vcek")
    assert cache.get("b.vcek") is None


def test_a_place_that_takes_nothing_is_remembered_as_trouble(tmp_path):
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "amd")
    cache.put("a.vcek", b"leaf")
    assert cache.trouble.endswith("not a directory")
    assert cache.get("a.vcek") is None


def test_nothing_is_left_when_a_write_fails(cache, monkeypatch):
    cache.put("a.vcek", b"leaf")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    cache.put("a.vcek", b"newer")
    monkeypatch.undo()
    assert "no space left" in cache.trouble
    assert [path.name for path in cache.directory.iterdir()] == ["a.vcek"]
    assert cache.get("a.vcek") == b"leaf"
    cache.put("a.vcek", b"newer")
    assert cache.trouble == ""


def test_no_directory_keeps_nothing():
    cache = Cache(None)
    cache.put("a.vcek", b"leaf")
    assert cache.get("a.vcek") is None


def test_who_reads_while_others_write_sees_one_whole_file(cache):
    contents = {bytes([n]) * 5000 for n in range(4)}
    writers = [
        threading.Thread(target=lambda c=c: [cache.put("a", c) for _ in range(20)])
        for c in contents
    ]
    for writer in writers:
        writer.start()
    seen = {cache.get("a") for _ in range(200)}
    for writer in writers:
        writer.join()
    assert seen - {None} <= contents
    assert cache.get("a") in contents


def test_where_it_is():
    assert directory_of({"HOME": "/home/a"}) == Path("/home/a/.cache/sealserve/amd")
    assert directory_of({"HOME": "home"}) == Path("/var/cache/sealserve/amd")
    assert directory_of({}) == Path("/var/cache/sealserve/amd")


def test_names_say_product_chip_and_tcb():
    report = Report.parse(vector("ms-tav/turin-v5-aci").read("report.bin"))
    name = leaf_name(report, "turin")
    assert name == f"turin-{report.chip_id[:8].hex()}-{report.reported_tcb.hex()}.vcek"
    milan = Report.parse(vector("trustee/milan-v2").read("report.bin"))
    assert len(leaf_name(milan, "milan")) < 255
    assert list_name("genoa", "vlek") == "genoa-vlek.crl"
