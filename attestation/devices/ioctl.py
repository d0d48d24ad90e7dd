"""The one place that calls ioctl on a guest device, and what both kinds of device share.

A request is a frame that points to a message and to room for the answer; the kernel fills the
room and, if the firmware or the host objected, the frame. Whoever hands over another `Ioctl` can
answer in the kernel's place.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from sealserve.attestation.binding import ReportData
from sealserve.attestation.report import REPORT_BYTES
from sealserve.native.errors import UnavailableError

Ioctl = Callable[[str, int, bytearray], None]
"""(device, request code, frame): the kernel reads and changes the frame. OSError as of ioctl(2)."""

MSG_VERSION: Final = 1

# struct snp_report_req, Linux include/uapi/linux/sev-guest.h; MSG_REPORT_REQ of AMD 56860
# rev 1.58: REPORT_DATA, VMPL, and zeros, the first of which select the key: VLEK if there is one.
_REPORT_REQUEST: Final = struct.Struct("<64sI28x")
REPORT_REQUEST_BYTES: Final = _REPORT_REQUEST.size

# MSG_REPORT_RSP, AMD 56860 rev 1.58: status, size of the report, 24 reserved bytes, the report.
_REPORT_RESPONSE: Final = struct.Struct("<II24x")

# _IOWR(type, number, size), Linux include/uapi/asm-generic/ioctl.h.
_IOC_READ_WRITE: Final = 3


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """A report as the firmware wrote it, and the certificate table the host put beside it.

    table: empty where the interface has none or the host had nothing to say.
    """

    report: bytes
    table: bytes = b""


class ReportDevice(Protocol):
    """One way to the secure processor. where: the path that says which."""

    @property
    def where(self) -> str:
        """What a person would look for."""

    def report(self, data: ReportData) -> DeviceReport:
        """A report with these 64 bytes. UnavailableError when none is to be had."""


def read_write(kind: str, number: int, size: int) -> int:
    """The request code _IOWR(kind, number, size)."""
    return _IOC_READ_WRITE << 30 | size << 16 | ord(kind) << 8 | number


def call(device: str, code: int, frame: bytearray) -> None:
    """ioctl(2) on this device, opened for this one call. OSError if the kernel refuses."""
    descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, code, frame, True)
    finally:
        os.close(descriptor)


def report_request(data: ReportData) -> bytes:
    """MSG_REPORT_REQ for a report at VMPL 0, the only level a policy accepts by default."""
    return _REPORT_REQUEST.pack(data, 0)


def report_of(response: bytes, device: str) -> bytes:
    """The report inside MSG_REPORT_RSP. UnavailableError if there is none of the right size."""
    status, size = _REPORT_RESPONSE.unpack_from(response)
    if status != 0:
        raise UnavailableError(f"{device}: the firmware refused a report with status 0x{status:x}")
    if size != REPORT_BYTES:
        raise UnavailableError(
            f"{device}: the firmware answered with a report of {size} bytes; {REPORT_BYTES} wanted"
        )
    return response[_REPORT_RESPONSE.size : _REPORT_RESPONSE.size + REPORT_BYTES]


class Room:
    """Memory at a fixed address that a frame can point to; zeros, or these bytes, at first."""

    def __init__(self, content: int | bytes) -> None:
        size = content if isinstance(content, int) else len(content)
        initial = bytes(size) if isinstance(content, int) else content
        self._memory = (ctypes.c_ubyte * size).from_buffer_copy(initial)

    @property
    def address(self) -> int:
        """Where it is, for as long as this object lives."""
        return ctypes.addressof(self._memory)

    def read(self) -> bytes:
        """What stands there now."""
        return bytes(self._memory)


def refused(device: str, error: OSError, told: str = "") -> UnavailableError:
    """Our error for an ioctl that failed. told: what firmware or host said, if they did."""
    words = os.strerror(error.errno or 0).lower()
    return UnavailableError(
        f"{device} gives no report: {told or words}",
        hint=_HINTS.get(error.errno or 0, "`sealserve doctor` says what is missing"),
    )


_HINTS: Final = {
    1: "the device wants CAP_SYS_ADMIN or its owner: run the server as that user",  # EPERM
    13: "the device belongs to another user: let this one read and write it",  # EACCES
    25: "this device speaks another protocol: is this a guest, and is its driver new?",  # ENOTTY
}
