"""Is it genuine? `verify` hands out claims or raises; `diagnose` says everything that is amiss.

Both ask the checks of `checks.py`, in their order. Whether a genuine machine is an acceptable one
is `policy.appraise`'s question. No clock, no file, no network: `now` is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from sealserve.attestation import checks, tcb
from sealserve.attestation.bench import Absent, Answer, Bench, Check, Pieces, Unasked, ask
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.report import Report, SigningKey
from sealserve.attestation.roots import Platform, Roots
from sealserve.attestation.tcb import Line, Tcb
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.native.errors import EvidenceError

__all__ = [
    "Answer",
    "Claims",
    "Diagnosis",
    "Pieces",
    "Roots",
    "SignedReport",
    "Statement",
    "diagnose",
    "signed_report",
    "verify",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report that genuine hardware signed. It does not yet speak for anybody.

    crl_this_update: when the stapled revocation list was made, None without one.
    """

    platform: Platform
    line: Line
    report: Report
    signing_key: SigningKey
    csp_id: str | None
    crl_this_update: datetime | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What evidence says of a machine, proven or not: to be looked at, never to be relied on.

    line, signing_key: None where nothing tells. csp_id: the provider that enrolled the machine,
    with a VLEK. crl_this_update: when the revocation list was made; endorsement: genuine, by
    whomever it says; both None without one. The TCBs raise EvidenceError where they cannot be read.
    """

    platform: Platform
    line: Line | None
    report: Report
    signing_key: SigningKey | None
    csp_id: str | None
    crl_this_update: datetime | None
    endorsement: UvmEndorsement | None

    @property
    def reported_tcb(self) -> Tcb:
        """The TCB that the signing key proves."""
        return self._tcb(self.report.reported_tcb)

    @property
    def committed_tcb(self) -> Tcb:
        """The TCB below which the platform can no longer fall."""
        return self._tcb(self.report.committed_tcb)

    @property
    def current_tcb(self) -> Tcb:
        """The TCB that was running when the report was made."""
        return self._tcb(self.report.current_tcb)

    @property
    def launch_tcb(self) -> Tcb:
        """The TCB that was running when the guest was launched."""
        return self._tcb(self.report.launch_tcb)

    @property
    def chip_id(self) -> bytes:
        """The chip, 64 bytes or on Turin 8; all zero where a VLEK signed for a masked chip."""
        return self.report.chip_id[: tcb.CHIP_ID_BYTES[self.line]] if self.line else b""

    def _tcb(self, raw: bytes) -> Tcb:
        if self.line is None:
            raise EvidenceError(
                "line_unknown", "product line", seen="none we know", wanted=", ".join(tcb.LINES)
            )
        return tcb.decode(raw, self.line)


@dataclass(frozen=True, slots=True)
class Claims(Statement):
    """What verification extracted: a genuine report, and the claims it was made for.

    Only `verify` makes them. runtime: the claims as they were hashed; all 64 bytes of REPORT_DATA
    were compared with them. Their shape is for whoever knows which purpose to expect (`binding`).
    """

    line: Line
    signing_key: SigningKey
    runtime: bytes


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Every check that could be asked. It proves nothing, even if nothing failed.

    statement: what the evidence says of the machine, None if its report cannot be read.
    """

    answers: tuple[Answer, ...]
    statement: Statement | None

    @property
    def failures(self) -> tuple[EvidenceError, ...]:
        """What failed, in the order of the checks."""
        return tuple(answer.failure for answer in self.answers if answer.failure is not None)


def verify(evidence: Evidence, roots: Roots, now: datetime) -> Claims:
    """The claims of genuine evidence that speaks for exactly its runtime claims.

    now: with a time zone. Raises EvidenceError for the first check that fails.
    """
    bench = Bench(Pieces.of(evidence), roots, now)
    _require(checks.ALL, bench)
    return Claims(
        platform=roots.platform,
        line=bench.line,
        report=bench.report,
        signing_key=bench.signing_key,
        csp_id=bench.leaf.csp_id,
        crl_this_update=None if evidence.crl is None else bench.crl.this_update,
        endorsement=None if evidence.uvm_endorsement is None else bench.endorsement,
        runtime=evidence.claims,
    )


def signed_report(evidence: Evidence, roots: Roots, now: datetime) -> SignedReport:
    """Everything `verify` checks except whom the report speaks for; evidence.claims is not read.

    For tools that look at reports. A channel or a key must never be trusted for this alone.
    """
    bench = Bench(Pieces.of(evidence), roots, now)
    _require(checks.SIGNED, bench)
    return SignedReport(
        platform=roots.platform,
        line=bench.line,
        report=bench.report,
        signing_key=bench.signing_key,
        csp_id=bench.leaf.csp_id,
        crl_this_update=None if evidence.crl is None else bench.crl.this_update,
    )


def diagnose(pieces: Pieces, roots: Roots, now: datetime) -> Diagnosis:
    """Ask every check that can be asked of these pieces; raises nothing for what they hold.

    The same table as `verify`, which alone hands out Claims. now: with a time zone.
    """
    bench = Bench(pieces, roots, now)
    answers = tuple(ask(check.name, partial(check.run, bench)) for check in checks.ALL)
    return Diagnosis(answers, _statement(bench))


def _require(table: Sequence[Check], bench: Bench) -> None:
    """Every check passes, or the first that does not raises EvidenceError."""
    for check in table:
        try:
            check.run(bench)
        except Absent:
            continue  # nothing of that kind has to come


def _statement(bench: Bench) -> Statement | None:
    report = _of(lambda: bench.report)
    if report is None:
        return None
    crl = _of(lambda: bench.crl)
    by_processor = tcb.line_of(*report.cpuid[:2]) if report.cpuid else None
    return Statement(
        platform=bench.roots.platform,
        line=_of(lambda: bench.line) or by_processor,
        report=report,
        signing_key=_of(lambda: bench.signing_key),
        csp_id=_of(lambda: bench.leaf.csp_id),
        crl_this_update=None if crl is None else crl.this_update,
        endorsement=_of(lambda: bench.endorsement),
    )


def _of(fact: Callable[[], _T]) -> _T | None:
    """What was found out, or None."""
    try:
        return fact()
    except Unasked:
        return None
