"""configfs-tsm: reports through a directory, /sys/kernel/config/tsm/report, since Linux 6.7.

Linux Documentation/ABI/testing/configfs-tsm-report: making a directory makes a request object;
REPORT_DATA is written to `inblob`, the report read from `outblob`, the certificate table from
`auxblob`. `generation` counts the writes: if it has moved further than our own writes, somebody
else wrote in between and the answer may not be to our question.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sealserve.attestation.binding import ReportData
from sealserve.attestation.certificate_table import MAX_TABLE_BYTES
from sealserve.attestation.devices.ioctl import DeviceReport
from sealserve.attestation.report import REPORT_BYTES
from sealserve.native.errors import UnavailableError

DIRECTORY: Final = "/sys/kernel/config/tsm/report"
PROVIDER: Final = "sev_guest"  # drivers/virt/coco/sev-guest; tdx_guest and others speak otherwise

MAX_ATTRIBUTE_BYTES: Final = 64  # of those that are one word
ATTEMPTS: Final = 4  # a stranger who always writes in between is no race any more


class Tree:
    """The file operations on one configfs directory; OSError as the kernel gives them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self, name: str) -> None:
        """Make a request object."""
        (self.directory / name).mkdir(mode=0o700)

    def drop(self, name: str) -> None:
        """Give it up; the kernel removes its attributes."""
        (self.directory / name).rmdir()

    def write(self, name: str, attribute: str, value: bytes) -> None:
        """Set an attribute, in one call: each is a value of its own."""
        descriptor = os.open(self.directory / name / attribute, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value)
        finally:
            os.close(descriptor)

    def read(self, name: str, attribute: str, limit: int) -> bytes:
        """An attribute; UnavailableError if it is longer than `limit`."""
        path = self.directory / name / attribute
        with path.open("rb", buffering=0) as file:
            value = bytearray()
            while piece := file.read(limit + 1 - len(value)):
                value += piece
        if len(value) > limit:
            raise UnavailableError(f"{path} holds more than {limit} bytes")
        return bytes(value)


class Configfs:
    """A ReportDevice over configfs-tsm; usable from several threads and processes."""

    def __init__(self, tree: Tree | None = None) -> None:
        self._tree = tree or Tree(Path(DIRECTORY))
        self.where = str(self._tree.directory)

    def provider(self) -> str:
        """Which driver would answer; UnavailableError if none would."""
        with self._request() as name:
            return self._word(name, "provider")

    def report(self, data: ReportData) -> DeviceReport:
        """A report and the host's table, both to this question and to no other."""
        for _ in range(ATTEMPTS):
            with self._request() as name, suppress(_RacedError):
                return self._answer(name, data)
        raise UnavailableError(
            f"{self.where}: somebody else wrote to our request {ATTEMPTS} times",
            hint="which other program there asks for reports?",
        )

    @contextmanager
    def _request(self) -> Iterator[str]:
        """A request object with a name nobody guesses, gone at the end."""
        name = f"sealserve-{secrets.token_hex(8)}"
        try:
            self._tree.make(name)
            try:
                yield name
            finally:
                with suppress(OSError):  # a leftover holds nothing but an answer
                    self._tree.drop(name)
        except OSError as error:
            raise self._failure(error) from error

    def _answer(self, name: str, data: ReportData) -> DeviceReport:
        provider = self._word(name, "provider")
        if provider != PROVIDER:
            raise UnavailableError(
                f"{self.where} answers as {provider!r}; {PROVIDER!r} wanted",
                hint="this machine is no AMD SEV-SNP guest",
            )
        expected = self._generation(name) + 1
        self._tree.write(name, "inblob", data)
        expected += self._take_floor(name)
        try:
            report = self._tree.read(name, "outblob", REPORT_BYTES)
            table = self._table(name)
        except BlockingIOError as error:
            raise _RacedError from error
        if self._generation(name) != expected:
            raise _RacedError
        return DeviceReport(report, table)

    def _take_floor(self, name: str) -> int:
        """Ask at the lowest level we are allowed; the number of writes it took.

        Under a paravisor that is not 0, and whoever verifies has to have accepted that.
        """
        try:
            floor = self._number(name, "privlevel_floor")
        except FileNotFoundError:
            return 0
        if floor == 0:
            return 0
        self._tree.write(name, "privlevel", str(floor).encode())
        return 1

    def _table(self, name: str) -> bytes:
        try:
            return self._tree.read(name, "auxblob", MAX_TABLE_BYTES)
        except FileNotFoundError:  # a driver without one
            return b""

    def _generation(self, name: str) -> int:
        return self._number(name, "generation")

    def _number(self, name: str, attribute: str) -> int:
        text = self._word(name, attribute)
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise UnavailableError(f"{attribute} in {self.where} is {text!r}, not a number")
        return int(text)

    def _word(self, name: str, attribute: str) -> str:
        return (
            self._tree.read(name, attribute, MAX_ATTRIBUTE_BYTES).decode("ascii", "replace").strip()
        )

    def _failure(self, error: OSError) -> UnavailableError:
        words = os.strerror(error.errno or 0).lower()
        hint = _HINTS.get(error.errno or 0, "`sealserve doctor` says what is missing")
        return UnavailableError(f"{self.where} gives no report: {words}", hint=hint)


class _RacedError(Exception):
    """Somebody else wrote to our request."""


_HINTS: Final = {
    errno.ENOENT: "mount configfs and load the sev-guest driver",
    errno.ENXIO: "no driver answers there: load the sev-guest driver",
    errno.EACCES: "only root may ask there: run the server as root, or use /dev/sev-guest",
    errno.EPERM: "only root may ask there: run the server as root, or use /dev/sev-guest",
}
