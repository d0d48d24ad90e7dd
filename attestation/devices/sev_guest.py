"""/dev/sev-guest of Linux 5.19 and later: reports, and the host's certificate table with them.

Layouts and codes: Linux include/uapi/linux/sev-guest.h. The host may answer that it is busy (it
limits how often a guest may ask) or that its table does not fit; both arrive as an error of ioctl
with `vmm_error` in the frame, AMD 56421 rev 2.03 (GHCB), section 4.1.8.1.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Final

from sealserve.attestation.binding import ReportData
from sealserve.attestation.certificate_table import MAX_TABLE_BYTES
from sealserve.attestation.devices import ioctl
from sealserve.attestation.devices.ioctl import DeviceReport, Ioctl, Room
from sealserve.native.errors import UnavailableError

DEVICE: Final = "/dev/sev-guest"

# struct snp_guest_request_ioctl: version, addresses of request and response, exitinfo2, whose
# lower half is the firmware's error and whose upper half the host's.
_FRAME: Final = struct.Struct("<B7xQQII")
GET_REPORT: Final = ioctl.read_write("S", 0, _FRAME.size)
GET_EXT_REPORT: Final = ioctl.read_write("S", 2, _FRAME.size)
RESPONSE_BYTES: Final = 4000  # struct snp_report_resp
_EXTENDED: Final = struct.Struct("<96sQI4x")  # struct snp_ext_report_req

INVALID_LENGTH: Final = 1  # SNP_GUEST_VMM_ERR_INVALID_LEN
BUSY: Final = 2  # SNP_GUEST_VMM_ERR_BUSY

BUSY_SECONDS: Final = 20.0  # hosts allow a guest a few requests in some seconds
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0


class SevGuest:
    """A ReportDevice over /dev/sev-guest; usable from several threads."""

    def __init__(
        self,
        *,
        device: str = DEVICE,
        call: Ioctl = ioctl.call,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.where = device
        self._call = call
        self._clock = clock
        self._pause = pause

    def report(self, data: ReportData) -> DeviceReport:
        """A report and the host's table. A table larger than the kernel allows is left behind."""
        request = ioctl.report_request(data)
        table = Room(MAX_TABLE_BYTES)
        extended = Room(_EXTENDED.pack(request, table.address, MAX_TABLE_BYTES))
        try:
            report = self._ask(GET_EXT_REPORT, extended)
        except _TableTooLongError:
            return DeviceReport(self._ask(GET_REPORT, Room(request)))
        return DeviceReport(report, table.read())

    def _ask(self, code: int, request: Room) -> bytes:
        ends = self._clock() + BUSY_SECONDS
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._attempt(code, request)
            except _BusyError as error:
                if self._clock() + pause >= ends:
                    raise UnavailableError(
                        f"{self.where} gives no report: the host is busy",
                        retry_after_seconds=LONGEST_PAUSE_SECONDS,
                        hint="it limits how often its guests may ask",
                    ) from error
            self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _attempt(self, code: int, request: Room) -> bytes:
        response = Room(RESPONSE_BYTES)
        frame = bytearray(_FRAME.pack(ioctl.MSG_VERSION, request.address, response.address, 0, 0))
        try:
            self._call(self.where, code, frame)
        except OSError as error:
            _, _, _, firmware, host = _FRAME.unpack(frame)
            raise self._failure(code, error, firmware, host) from error
        return ioctl.report_of(response.read(), self.where)

    def _failure(self, code: int, error: OSError, firmware: int, host: int) -> Exception:
        if host == BUSY:
            return _BusyError()
        if host == INVALID_LENGTH and code == GET_EXT_REPORT:
            return _TableTooLongError()
        told = f"firmware error 0x{firmware:x}, host error {host}" if firmware or host else ""
        return ioctl.refused(self.where, error, told)


class _BusyError(Exception):
    """The host asks for patience."""


class _TableTooLongError(Exception):
    """The host's table does not fit into what the kernel passes on."""
