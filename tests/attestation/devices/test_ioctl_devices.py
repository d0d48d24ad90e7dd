"""/dev/sev-guest and /dev/sev: the frames of the kernel's header, and every way it can refuse."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sealserve.attestation.certificate_table import CertificateTable
from sealserve.attestation.devices import ioctl
from sealserve.attestation.devices.ioctl import DeviceReport, report_request
from sealserve.attestation.devices.sev import Sev
from sealserve.attestation.devices.sev_guest import BUSY_SECONDS, SevGuest
from sealserve.errors import UnavailableError
from support.attestation_devices import SevGuestKernel, SevKernel, recorded, response
from support.attestation_vectors import vector, vectors

ROWS = vectors("snp", "report.bin", "leaf.der")
REPORTS = {row.id: row.read("report.bin") for row in ROWS}
REPORT = vector("veraison/genoa-v3-configfs-tsm").read("report.bin")
TABLE = vector("veraison/genoa-v3-configfs-tsm").read("auxblob.bin")
DATA = REPORT[0x50:0x90]


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


class Clock:
    """Time that passes only while somebody pauses."""

    def __init__(self):
        self.now = 0.0
        self.pauses = []

    def __call__(self):
        return self.now

    def pause(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def kernel():
    return SevGuestKernel(recorded(REPORT), TABLE)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def guest(kernel, clock):
    return SevGuest(call=kernel, clock=clock, pause=clock.pause)


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_both_devices_bring_the_report_that_was_asked_for(report):
    data = report[0x50:0x90]
    assert Sev(call=SevKernel(recorded(report))).report(data) == DeviceReport(report)
    assert SevGuest(call=SevGuestKernel(recorded(report))).report(data).report == report


def test_the_hosts_table_comes_with_the_report(guest, kernel):
    answered = guest.report(DATA)
    assert answered.report == REPORT
    assert CertificateTable.parse(answered.table) == CertificateTable.parse(TABLE)
    assert kernel.codes == [0xC0205302]
    assert kernel.vmpl == [0]


def test_no_table_is_an_empty_one(kernel, guest):
    kernel.table = b""
    assert CertificateTable.parse(guest.report(DATA).table) == CertificateTable()


def test_a_table_that_does_not_fit_is_left_behind(kernel, guest):
    kernel.table = bytes(0x4001)
    assert guest.report(DATA) == DeviceReport(REPORT)
    assert kernel.codes == [0xC0205302, 0xC0205300]


def test_a_busy_host_is_asked_again_ever_more_slowly(kernel, guest, clock):
    kernel.busy = 5
    assert guest.report(DATA).report == REPORT
    assert clock.pauses == [0.05, 0.1, 0.2, 0.4, 0.8]


def test_a_host_that_stays_busy_is_given_up(kernel, guest, clock):
    kernel.busy = 10**6
    with pytest.raises(UnavailableError, match="the host is busy") as refusal:
        guest.report(DATA)
    assert refusal.value.retry_after_seconds > 0
    assert clock.now < BUSY_SECONDS
    assert max(clock.pauses) == 2.0


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ((errno.EIO, 0x16, 0), "firmware error 0x16, host error 0"),
        ((errno.EIO, 0, 7), "firmware error 0x0, host error 7"),
        ((errno.ENOTTY, 0, 0), "hint: this device speaks another protocol"),
        ((errno.EACCES, 0, 0), "hint: the device belongs to another user"),
        ((errno.ETIMEDOUT, 0, 0), "connection timed out"),
    ],
)
def test_what_the_kernel_says_is_told(kernel, guest, failure, told):
    kernel.failure = failure
    with pytest.raises(UnavailableError) as refusal:
        guest.report(DATA)
    assert told in str(refusal.value)


def test_a_plain_request_has_no_table_to_be_too_long(kernel, guest):
    kernel.table = bytes(0x4001)
    told = iter([None, (errno.EIO, 0, 1)])
    call = kernel.__call__

    def once_too_long(device, code, frame):
        kernel.failure = next(told)
        call(device, code, frame)

    with pytest.raises(UnavailableError, match="host error 1"):
        SevGuest(call=once_too_long).report(DATA)


def test_the_older_device_tells_the_firmwares_error():
    kernel = SevKernel(recorded(REPORT))
    kernel.failure = (errno.EIO, 0x1B)
    with pytest.raises(UnavailableError, match="firmware error 0x1b"):
        Sev(call=kernel).report(DATA)
    kernel.failure = (errno.ENODEV, 0)
    with pytest.raises(UnavailableError, match="no such device"):
        Sev(call=kernel).report(DATA)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda report: response(report, status=0x16), "status 0x16"),
        (lambda report: response(report, size=1183), "1183 bytes; 1184 wanted"),
        (lambda report: response(report, size=0xFFFFFFFF), "4294967295 bytes"),
        (lambda report: b"", "0 bytes"),
    ],
)
@pytest.mark.parametrize(("device", "kernel"), [(SevGuest, SevGuestKernel), (Sev, SevKernel)])
def test_an_answer_without_a_whole_report_is_refused(device, kernel, answer, told):
    answering = kernel(recorded(REPORT))
    answering.frame = answer
    with pytest.raises(UnavailableError, match=told):
        device(call=answering).report(DATA)


def test_a_device_that_is_not_there_or_is_none(tmp_path):
    with pytest.raises(UnavailableError, match="no such file"):
        SevGuest(device=str(tmp_path / "none")).report(DATA)
    with pytest.raises(UnavailableError, match="another protocol"):
        Sev(device="/dev/null").report(DATA)


def test_no_descriptor_is_left_behind():
    before = descriptors()
    for _ in range(3):
        with pytest.raises(UnavailableError):
            SevGuest(device="/dev/null").report(DATA)
    assert descriptors() == before


def test_the_request_is_as_amd_writes_it():
    assert report_request(DATA) == DATA + bytes(32)
    assert ioctl.read_write("S", 0, 32) == 0xC0205300
