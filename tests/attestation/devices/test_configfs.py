"""configfs-tsm: an answer to our question or none, whoever else writes there."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation.devices.configfs import ATTEMPTS, Configfs, Tree
from sealserve.attestation.devices.ioctl import DeviceReport
from sealserve.errors import UnavailableError
from support.attestation_devices import TsmTree, recorded
from support.attestation_vectors import vector

ROW = vector("veraison/genoa-v3-configfs-tsm")
REPORT, TABLE = ROW.read("report.bin"), ROW.read("auxblob.bin")
DATA = REPORT[0x50:0x90]


@pytest.fixture
def tree(tmp_path):
    return TsmTree(tmp_path / "report", recorded(REPORT), TABLE)


def left(tree):
    return list(tree.directory.iterdir())


def test_report_and_table_are_those_of_a_real_machine(tree):
    assert Configfs(tree).report(DATA) == DeviceReport(REPORT, TABLE)
    assert Configfs(tree).provider() == "sev_guest"
    assert not left(tree)


def test_a_driver_without_tables(tree):
    del tree.attributes["auxblob"]
    assert Configfs(tree).report(DATA) == DeviceReport(REPORT, b"")


@pytest.mark.parametrize(("floor", "asked"), [(b"0\n", b""), (b"2\n", b"2")])
def test_the_lowest_level_allowed_is_asked_for(tree, floor, asked):
    tree.attributes["privlevel_floor"] = floor
    seen = []
    tree.intrude = lambda name: seen.append((tree.directory / name / "privlevel").read_bytes())
    assert Configfs(tree).report(DATA).report == REPORT
    assert seen == [asked]


def test_a_race_is_noticed_and_run_again(tree):
    intrusions = iter([True, True, False])

    def intrude(name):
        if next(intrusions):
            tree.write(name, "inblob", DATA)

    tree.intrude = intrude
    assert Configfs(tree).report(DATA) == DeviceReport(REPORT, TABLE)
    assert next(intrusions, None) is None
    assert not left(tree)


def test_a_race_the_kernel_notices_is_run_again(tree):
    raced = iter([True, False])

    def intrude(_name):
        if next(raced):
            raise BlockingIOError(errno.EWOULDBLOCK, "raced")

    tree.intrude = intrude
    assert Configfs(tree).report(DATA) == DeviceReport(REPORT, TABLE)


def test_a_stranger_who_always_writes_is_named(tree):
    tree.intrude = lambda name: tree.write(name, "inblob", DATA)
    with pytest.raises(UnavailableError, match=f"wrote to our request {ATTEMPTS} times"):
        Configfs(tree).report(DATA)
    assert not left(tree)


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENXIO, "load the sev-guest driver"),
        (errno.EACCES, "only root may ask there"),
        (errno.EINVAL, "sealserve doctor"),
        (errno.EBUSY, "sealserve doctor"),
    ],
)
def test_what_the_kernel_refuses_is_told(tree, number, hint):
    def intrude(_name):
        raise OSError(number, "as told")

    tree.intrude = intrude
    with pytest.raises(UnavailableError, match=os.strerror(number).lower()) as refusal:
        Configfs(tree).report(DATA)
    assert hint in refusal.value.hint
    assert not left(tree)


@pytest.mark.parametrize(
    ("attribute", "value", "told"),
    [
        ("provider", b"tdx_guest\n", "answers as 'tdx_guest'; 'sev_guest' wanted"),
        ("provider", b"\xff" * 64, "wanted"),
        ("provider", b"s" * 65, "holds more than 64 bytes"),
        ("generation", b"", "not a number"),
        ("generation", b"-1", "not a number"),
        ("generation", b"9" * 30, "not a number"),
        ("privlevel_floor", b"x", "not a number"),
        ("auxblob", bytes(0x4001), "holds more than 16384 bytes"),
    ],
)
def test_attributes_like_no_drivers_are_refused(tree, attribute, value, told):
    tree.attributes[attribute] = value
    with pytest.raises(UnavailableError, match=told):
        Configfs(tree).report(DATA)
    assert not left(tree)


def test_a_report_longer_than_one_is_refused(tree):
    tree.answer = lambda data: REPORT + b"\0"
    with pytest.raises(UnavailableError, match="outblob holds more than 1184 bytes"):
        Configfs(tree).report(DATA)


def test_nothing_is_mounted_there(tmp_path):
    with pytest.raises(UnavailableError, match="no such file") as refusal:
        Configfs(Tree(tmp_path / "none")).report(DATA)
    assert "mount configfs" in refusal.value.hint


@given(st.dictionaries(st.sampled_from(["provider", "generation", "auxblob"]), st.binary()))
def test_whatever_attributes_hold_only_unavailable_comes_out(tmp_path_factory, attributes):
    tree = TsmTree(tmp_path_factory.mktemp("tsm"), recorded(REPORT), TABLE)
    tree.attributes |= attributes
    tree.write = lambda name, attribute, value: Tree.write(tree, name, attribute, value)
    try:
        answered = Configfs(tree).report(DATA)
    except UnavailableError:
        return
    assert answered.report == REPORT
