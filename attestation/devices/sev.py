"""The older /dev/sev in guests of Linux 5.15, as the first Azure Container Instances have it.

That driver never entered the kernel's own tree: its frame is known from Microsoft's sidecar
(confidential-sidecar-containers, pkg/attest/attestation_report_fetcher.go). It has no certificate
table. On a host /dev/sev is another device, which refuses this request.
"""

from __future__ import annotations

import struct
from typing import Final

from sealserve.attestation.binding import ReportData
from sealserve.attestation.devices import ioctl
from sealserve.attestation.devices.ioctl import DeviceReport, Ioctl, Room

DEVICE: Final = "/dev/sev"

# Request and response type, version, request length and address, response length and address,
# firmware error.
_FRAME: Final = struct.Struct("<BBBxH2xQH6xQI4x")
GUEST_MESSAGE: Final = ioctl.read_write("S", 1, _FRAME.size)
RESPONSE_BYTES: Final = 1280

# AMD 56860 rev 1.58, message types of guest requests.
REPORT_REQUEST: Final = 5
REPORT_RESPONSE: Final = 6


class Sev:
    """A ReportDevice over the older driver; usable from several threads."""

    def __init__(self, *, device: str = DEVICE, call: Ioctl = ioctl.call) -> None:
        self.where = device
        self._call = call

    def report(self, data: ReportData) -> DeviceReport:
        """A report; certificates have to come from elsewhere."""
        request, response = Room(ioctl.report_request(data)), Room(RESPONSE_BYTES)
        frame = bytearray(
            _FRAME.pack(
                REPORT_REQUEST,
                REPORT_RESPONSE,
                ioctl.MSG_VERSION,
                ioctl.REPORT_REQUEST_BYTES,
                request.address,
                RESPONSE_BYTES,
                response.address,
                0,
            )
        )
        try:
            self._call(self.where, GUEST_MESSAGE, frame)
        except OSError as error:
            firmware = _FRAME.unpack(frame)[-1]
            told = f"firmware error 0x{firmware:x}" if firmware else ""
            raise ioctl.refused(self.where, error, told) from error
        return DeviceReport(ioctl.report_of(response.read(), self.where))
