"""Evidence from real hardware: a report device, and everything a verifier needs beside its report.

A report is verified here before it leaves, as its receivers will do, so that a certificate of
before a firmware update is noticed by the server and not by its clients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sealserve.attestation import uvm
from sealserve.attestation.binding import report_data
from sealserve.attestation.certificate_table import CertificateTable
from sealserve.attestation.crl import Crl
from sealserve.attestation.devices.ioctl import DeviceReport, ReportDevice
from sealserve.attestation.devices.keeper import Keeper
from sealserve.attestation.devices.leaves import Endorsed, Leaves
from sealserve.attestation.devices.lists import Lists
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.report import Report
from sealserve.native.errors import EvidenceError, UnavailableError

Kind = Literal["snp", "aci"]
_RETRY_SECONDS = 10.0  # about as often as AMD's service answers


@dataclass(frozen=True, slots=True)
class Standing:
    """How well this machine can prove itself now, from what is at hand.

    report: not verified if `endorsed` is None. revocation_list: the one at hand.
    """

    report: Report
    endorsed: Endorsed | None
    revocation_list: Crl | None


class HardwareSource:
    """An EvidenceSource over one device; usable from several threads.

    endorsement: of the utility VM, COSE_Sign1, where the platform has one.
    """

    def __init__(
        self,
        device: ReportDevice,
        platform: Kind,
        leaves: Leaves,
        lists: Lists,
        *,
        endorsement: bytes | None = None,
    ) -> None:
        self.platform: Kind = platform
        self.device = device
        self._leaves = leaves
        self._lists = lists
        self._endorsement = endorsement
        self._keeper: Keeper | None = None

    def evidence(self, claims: bytes) -> Evidence:
        """Fresh evidence for these claims, from what is at hand; asks no network.

        The first one begins what `prepare` promises. UnavailableError if the device gives no
        report, or if its certificate has yet to come.
        """
        if self._keeper is not None:
            self._keeper.start()
        raw, table = self._report(claims)
        endorsed = self._leaves.at_hand(raw, table)
        if endorsed is None:
            raise self._missing(raw)
        return self._evidence(claims, raw, table, endorsed)

    def prepare(self, tell: Callable[[str], None]) -> None:
        """Get what is missing, over a network if need be, and keep it current from now on.

        Starts no thread, so that a process which prepared can be forked: each child keeps current
        what it inherits, from its first evidence on. UnavailableError without a certificate.
        Without a revocation list, or with an endorsement of something else, `tell` hears of it.
        """
        raw, table = self._report(b"")
        endorsed = self._leaves.at_hand(raw, table) or self._leaves.fetch(raw)
        self._offer_list(table, endorsed)
        self._try_endorsement(endorsed, tell)
        self._keeper = Keeper(self._leaves, self._lists, endorsed, tell)
        self._keeper.begin()

    def standing(self) -> Standing:
        """What evidence would have now. UnavailableError if the device gives no report."""
        raw, table = self._report(b"")
        report = Report.parse(raw)
        endorsed = self._leaves.at_hand(raw, table)
        if endorsed is None:
            return Standing(report, None, None)
        self._offer_list(table, endorsed)
        held = self._lists.current(endorsed)
        return Standing(report, endorsed, Crl.parse(held) if held else None)

    def close(self) -> None:
        """Keep nothing current any more."""
        if self._keeper is not None:
            self._keeper.stop()

    def _report(self, claims: bytes) -> tuple[bytes, bytes]:
        wanted = report_data(claims)
        answered: DeviceReport = self.device.report(wanted)
        try:
            seen = Report.parse(answered.report).report_data
        except EvidenceError as error:
            raise UnavailableError(
                f"{self.device.where} gave a report that nobody accepts: {error.message}",
                hint=error.hint,
            ) from error
        if seen != wanted:
            raise UnavailableError(
                f"{self.device.where} answered another question: REPORT_DATA is {seen.hex()},"
                f" asked for {wanted.hex()}"
            )
        return answered.report, answered.table

    def _evidence(self, claims: bytes, raw: bytes, table: bytes, endorsed: Endorsed) -> Evidence:
        return Evidence(
            report=raw,
            leaf=endorsed.candidate.leaf,
            intermediate=endorsed.candidate.intermediate,
            claims=claims,
            crl=self._lists.current(endorsed),
            uvm_endorsement=self._endorsement,
        )

    def _offer_list(self, table: bytes, endorsed: Endorsed) -> None:
        try:
            found = CertificateTable.parse(table).crl
        except EvidenceError:
            return
        if found is not None:
            self._lists.offer(endorsed, found)

    def _try_endorsement(self, endorsed: Endorsed, tell: Callable[[str], None]) -> None:
        """Evidence with an endorsement of something else is refused by whoever it is sent to."""
        if self._endorsement is None:
            return
        try:
            seen = uvm.read(self._endorsement).measurement
        except EvidenceError as error:
            tell(f"clients will refuse the endorsement of this machine: {error.message}")
            return
        wanted = endorsed.signed.report.measurement
        if seen != wanted:
            tell(
                "clients will refuse the endorsement of this machine: it is of measurement "
                f"{seen.hex()}; the report has {wanted.hex()}"
            )

    def _missing(self, raw: bytes) -> UnavailableError:
        if self._keeper is not None:
            self._keeper.want(raw)
        return UnavailableError(
            "no certificate at hand for this chip at its present firmware",
            retry_after_seconds=_RETRY_SECONDS,
            hint="it is being fetched" if self._keeper else "`sealserve doctor` says from where",
        )
