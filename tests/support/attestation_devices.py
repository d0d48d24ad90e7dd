"""Guest devices that answer as the kernel does, with the same bytes, from reports made before.

The structures are written down once more, with ctypes, as the uapi header has them: a mistake in
the layout of what we send would otherwise agree with itself.
"""

from __future__ import annotations

import ctypes
import errno
import shutil
from collections.abc import Callable
from pathlib import Path

from sealserve.attestation.binding import ReportData
from sealserve.attestation.devices.configfs import Tree
from sealserve.attestation.devices.ioctl import DeviceReport

Make = Callable[[bytes], bytes]
"""64 bytes for REPORT_DATA in, a report out; KeyError for data nobody made a report for."""


def recorded(*reports: bytes) -> Make:
    """The reports that real machines once made, by what they were asked for."""
    return {report[0x50:0x90]: report for report in reports}.__getitem__


class Machine:
    """A ReportDevice that needs no kernel. table: what its host puts beside each report."""

    where = "/dev/test"

    def __init__(self, make: Make, table: bytes = b"") -> None:
        self.make = make
        self.table = table
        self.asked = 0

    def report(self, data: ReportData) -> DeviceReport:
        """As real ones do."""
        self.asked += 1
        return DeviceReport(self.make(data), self.table)


class _ReportRequest(ctypes.LittleEndianStructure):  # struct snp_report_req
    _fields_ = (
        ("user_data", ctypes.c_uint8 * 64),
        ("vmpl", ctypes.c_uint32),
        ("rsvd", ctypes.c_uint8 * 28),
    )


class _ExtendedRequest(ctypes.LittleEndianStructure):  # struct snp_ext_report_req
    _fields_ = (
        ("data", _ReportRequest),
        ("certs_address", ctypes.c_uint64),
        ("certs_len", ctypes.c_uint32),
    )


class _GuestRequest(ctypes.LittleEndianStructure):  # struct snp_guest_request_ioctl
    _fields_ = (
        ("msg_version", ctypes.c_uint8),
        ("req_data", ctypes.c_uint64),
        ("resp_data", ctypes.c_uint64),
        ("fw_error", ctypes.c_uint32),
        ("vmm_error", ctypes.c_uint32),
    )


class _OldRequest(ctypes.LittleEndianStructure):  # tools/get-snp-report/snp-ioctl5.h of the sidecar
    _fields_ = (
        ("req_msg_type", ctypes.c_uint8),
        ("rsp_msg_type", ctypes.c_uint8),
        ("msg_version", ctypes.c_uint8),
        ("request_len", ctypes.c_uint16),
        ("request_uaddr", ctypes.c_uint64),
        ("response_len", ctypes.c_uint16),
        ("response_uaddr", ctypes.c_uint64),
        ("error", ctypes.c_uint32),
    )


def response(report: bytes, *, status: int = 0, size: int | None = None) -> bytes:
    """MSG_REPORT_RSP around a report."""
    length = len(report) if size is None else size
    return status.to_bytes(4, "little") + length.to_bytes(4, "little") + bytes(24) + report


class SevGuestKernel:
    """Answers the requests of /dev/sev-guest; the object is an `Ioctl`.

    busy: how often the host asks for patience first. room: the largest table the kernel passes on.
    failure: (errno, firmware error, host error) to fail with. frame: changes what would be
    answered.
    """

    def __init__(self, make: Make, table: bytes = b"") -> None:
        self.make = make
        self.table = table
        self.busy = 0
        self.failure: tuple[int, int, int] | None = None
        self.frame: Callable[[bytes], bytes] = response
        self.codes: list[int] = []
        self.vmpl: list[int] = []

    def __call__(self, device: str, code: int, argument: bytearray) -> None:
        frame = _GuestRequest.from_buffer(argument)
        assert len(argument) == ctypes.sizeof(_GuestRequest) == 32
        assert frame.msg_version == 1
        self.codes.append(code)
        if self.failure is not None:
            number, frame.fw_error, frame.vmm_error = self.failure
            raise OSError(number, "as told")
        if self.busy:
            self.busy -= 1
            frame.vmm_error = 2
            raise OSError(errno.EIO, "busy")
        if code == 0xC0205302:
            self._extended(frame)
        else:
            assert code == 0xC0205300
            self._answer(frame, _ReportRequest.from_address(frame.req_data))

    def _extended(self, frame: _GuestRequest) -> None:
        request = _ExtendedRequest.from_address(frame.req_data)
        assert request.certs_len % 4096 == 0
        if len(self.table) > request.certs_len:
            request.certs_len = len(self.table) + -len(self.table) % 4096
            frame.vmm_error = 1
            raise OSError(errno.EIO, "too small")
        ctypes.memmove(request.certs_address, self.table, len(self.table))
        self._answer(frame, request.data)

    def _answer(self, frame: _GuestRequest, request: _ReportRequest) -> None:
        self.vmpl.append(request.vmpl)
        assert not any(request.rsvd)
        answer = self.frame(self.make(bytes(request.user_data)))
        assert len(answer) <= 4000
        ctypes.memmove(frame.resp_data, answer, len(answer))


class SevKernel:
    """Answers the requests of the older /dev/sev; the object is an `Ioctl`."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self.failure: tuple[int, int] | None = None
        self.frame: Callable[[bytes], bytes] = response

    def __call__(self, device: str, code: int, argument: bytearray) -> None:
        frame = _OldRequest.from_buffer(argument)
        assert code == 0xC0285301
        assert len(argument) == ctypes.sizeof(_OldRequest) == 40
        assert (frame.req_msg_type, frame.rsp_msg_type, frame.msg_version) == (5, 6, 1)
        assert (frame.request_len, frame.response_len) == (96, 1280)
        if self.failure is not None:
            number, frame.error = self.failure
            raise OSError(number, "as told")
        request = _ReportRequest.from_address(frame.request_uaddr)
        assert request.vmpl == 0
        assert not any(request.rsvd)
        answer = self.frame(self.make(bytes(request.user_data)))
        assert len(answer) <= 1280
        ctypes.memmove(frame.response_uaddr, answer, len(answer))


class TsmTree(Tree):
    """A directory that behaves like configfs-tsm.

    attributes: what a fresh request holds. intrude: called before outblob is read, with the name of
    the request; may `write` as a stranger would, or raise as the kernel would.
    """

    def __init__(self, directory: Path, make: Make, table: bytes | None = b"") -> None:
        super().__init__(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.answer = make
        self.attributes = {"provider": b"sev_guest\n", "generation": b"0\n"}
        if table is not None:
            self.attributes["auxblob"] = table
        self.intrude: Callable[[str], None] = lambda _name: None

    def make(self, name: str) -> None:
        super().make(name)
        for attribute in ("inblob", "privlevel"):
            (self.directory / name / attribute).touch()
        for attribute, value in self.attributes.items():
            (self.directory / name / attribute).write_bytes(value)

    def drop(self, name: str) -> None:
        shutil.rmtree(self.directory / name)

    def write(self, name: str, attribute: str, value: bytes) -> None:
        super().write(name, attribute, value)
        generation = self.directory / name / "generation"
        generation.write_text(f"{int(generation.read_text()) + 1}\n")

    def read(self, name: str, attribute: str, limit: int) -> bytes:
        if attribute == "outblob":
            self.intrude(name)
            folder = self.directory / name
            (folder / "outblob").write_bytes(self.answer((folder / "inblob").read_bytes()))
        return super().read(name, attribute, limit)
