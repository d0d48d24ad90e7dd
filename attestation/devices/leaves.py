"""Which leaf signed a report: places it may come from, each tried by verifying the report with it.

Two kinds of places. *At hand*: what came with the report, the security context, memory and disk;
asked for each report, never over a network. *Away*: the host's service and AMD's; asked before the
first report is needed, and by a thread of their own. No place is trusted, and none can do worse
than not help.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sealserve.attestation import roots as amd
from sealserve.attestation import tcb
from sealserve.attestation.certificate_table import CertificateTable
from sealserve.attestation.certs import Leaf
from sealserve.attestation.devices.cache import Cache, intermediate_name, leaf_name
from sealserve.attestation.devices.host_service import HostService
from sealserve.attestation.devices.kds import Kds
from sealserve.attestation.devices.processor import CPUINFO, line_of_processor
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.report import Report
from sealserve.attestation.roots import Roots
from sealserve.attestation.tcb import Line
from sealserve.attestation.thim import HostCertificate
from sealserve.attestation.verify import SignedReport, signed_report
from sealserve.native.errors import EvidenceError, UnavailableError

FETCH_SECONDS: Final = 60.0  # with all retries


@dataclass(frozen=True, slots=True)
class Candidate:
    """A leaf and its intermediate (DER), and where they come from."""

    origin: str
    leaf: bytes
    intermediate: bytes


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A report with the candidate that signed it, and what verification found."""

    candidate: Candidate
    signed: SignedReport


class Leaves:
    """Places for one machine; usable from several threads.

    context: what the security context says of the chip. host, service: None asks nobody. roots:
    those that must have signed. clock: the time with its zone.
    """

    def __init__(
        self,
        *,
        roots: Roots,
        cache: Cache,
        clock: Callable[[], datetime],
        context: HostCertificate | None = None,
        host: HostService | None = None,
        service: Kds | None = None,
        cpuinfo: Path = CPUINFO,
    ) -> None:
        self._roots = roots
        self._cache = cache
        self._clock = clock
        self._context = context
        self._host = host
        self._service = service
        self._cpuinfo = cpuinfo
        self._lock = threading.Lock()
        self._last: Candidate | None = None

    def at_hand(self, raw: bytes, table: bytes) -> Endorsed | None:
        """The leaf that signed this report, from what is at hand; None if none of it did.

        raw: as a device gave it, readable as a report. table: the host's, beside it.
        """
        return self._first(raw, self._near(raw, table), [])

    def fetch(self, raw: bytes) -> Endorsed:
        """The same from places that are away. UnavailableError, saying what was wrong with each."""
        troubles: list[str] = []
        found = self._first(raw, self._far(raw, troubles), troubles)
        if found is None:
            raise UnavailableError(
                "no certificate for this chip is to be had: " + "; ".join(troubles),
                hint="without a network, put the VCEK into the host's certificate table",
            )
        self._keep(found)
        return found

    def _keep(self, found: Endorsed) -> None:
        """For the next start; AMD's intermediate too, if it is another than we ship."""
        report, line, candidate = found.signed.report, found.signed.line, found.candidate
        if report.signing_key == "vcek":
            self._cache.put(leaf_name(report, line), candidate.leaf)
            if candidate.intermediate != amd.intermediate(line, "vcek"):
                self._cache.put(intermediate_name(line, "vcek"), candidate.intermediate)

    def _first(
        self, raw: bytes, candidates: Iterator[Candidate], troubles: list[str]
    ) -> Endorsed | None:
        """The first candidate that verifies; what was wrong with the others joins `troubles`."""
        for candidate in candidates:
            evidence = Evidence(raw, candidate.leaf, candidate.intermediate, b"")
            try:
                signed = signed_report(evidence, self._roots, self._clock())
            except EvidenceError as error:
                troubles.append(f"{candidate.origin}: {error.message}")
                continue
            with self._lock:
                self._last = candidate
            return Endorsed(candidate, signed)
        return None

    def _near(self, raw: bytes, data: bytes) -> Iterator[Candidate]:
        with self._lock:
            last = self._last
        if last is not None:
            yield last
        yield from _of_table(data)
        report = Report.parse(raw)
        if self._context is not None:
            yield from _of_host("security context", self._context, report)
        line = self._line(report)
        if line is not None and report.signing_key == "vcek":
            leaf = self._cache.get(leaf_name(report, line))
            newer = self._cache.get(intermediate_name(line, "vcek"))
            if leaf is not None:
                yield from _with_shipped("disk", leaf)
                if newer is not None:
                    yield Candidate("disk", leaf, newer)

    def _far(self, raw: bytes, troubles: list[str]) -> Iterator[Candidate]:
        """Candidates of each service; one that has none joins `troubles`."""
        report, host, service = Report.parse(raw), self._host, self._service
        if host is not None:
            yield from _tried(
                host.url,
                troubles,
                lambda: _of_host("the host's service", host.certificate(), report),
            )
        if service is not None:
            yield from _tried(service.url, troubles, lambda: self._of_amd(service, report))

    def _of_amd(self, service: Kds, report: Report) -> Iterator[Candidate]:
        """Under the intermediate we ship, or one that AMD made since."""
        line = self._known_line(report)
        leaf = service.vcek(report, line, seconds=FETCH_SECONDS)
        yield from _with_shipped("AMD's service", leaf)
        newer = service.intermediate(line, report.signing_key, seconds=FETCH_SECONDS)
        if newer != amd.intermediate(line, report.signing_key):
            yield Candidate("AMD's service", leaf, newer)

    def _known_line(self, report: Report) -> Line:
        line = self._line(report)
        if line is None:
            raise UnavailableError("neither the report nor the processor says which line this is")
        return line

    def _line(self, report: Report) -> Line | None:
        """By the report; a version 2 report does not say, so by the processor we run on."""
        if report.cpuid is not None:
            return tcb.line_of(report.cpuid[0], report.cpuid[1])
        return line_of_processor(self._cpuinfo)


def _tried(
    name: str, troubles: list[str], ask: Callable[[], Iterator[Candidate]]
) -> Iterator[Candidate]:
    """Candidates as they come; why there are no more, or none at all, joins `troubles`."""
    none = True
    try:
        for candidate in ask():
            none = False
            yield candidate
    except (UnavailableError, EvidenceError) as error:  # EvidenceError: a TCB no line can have
        troubles.append(error.message)
        return
    if none:
        troubles.append(f"{name} has no certificate for this TCB")


def _of_table(data: bytes) -> Iterator[Candidate]:
    """What the host put beside the report; a table that cannot be read has nothing to say."""
    try:
        table = CertificateTable.parse(data)
    except EvidenceError:
        return
    for leaf in (table.vcek, table.vlek):
        if leaf is None:
            continue
        if table.intermediate is not None:
            yield Candidate("certificate table", leaf, table.intermediate)
        yield from _with_shipped("certificate table", leaf)


def _of_host(origin: str, found: HostCertificate, report: Report) -> Iterator[Candidate]:
    """Of a host's document, unless its certificate is of before a firmware update."""
    if found.tcb == report.reported_tcb:
        yield Candidate(origin, found.leaf, found.intermediate)


def _with_shipped(origin: str, leaf: bytes) -> Iterator[Candidate]:
    """Under AMD's intermediate as we ship it."""
    try:
        found = Leaf.parse(leaf)
    except EvidenceError:
        return
    line = found.certificate.issuer.common_name.split("-")[-1].lower()
    if line in tcb.LINES:
        yield Candidate(origin, leaf, amd.intermediate(line, found.kind))
