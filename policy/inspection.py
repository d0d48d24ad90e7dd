"""The judgement on evidence in files: every check of both tables, and the worst of what failed.

    crypto-reject   not genuine, or unreadable
    time-reject     genuine at another time
    policy-reject   not what is expected, whatever else may be missing
    incomplete      nothing failed, but a file is missing without which not all can be asked
    accept          everything asked was answered well; what was not asked is listed

The claims of a machine are told only where it proved to be genuine: of evidence that failed, what
it says counts for nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sealserve.attestation import file_kinds
from sealserve.attestation.bench import Answer
from sealserve.attestation.bundle import Bundle, examine
from sealserve.attestation.roots import Roots
from sealserve.attestation.verify import Statement
from sealserve.native.errors import EvidenceError, Finding
from sealserve.policy import assumed
from sealserve.policy.appraise import examine as examine_statement
from sealserve.policy.outcome import Outcome
from sealserve.policy.trust import Trust

Judgement = Literal["accept", "policy-reject", "time-reject", "crypto-reject", "incomplete"]

_TIME: Final = ("_early", "_expired", "_stale", "_window")
_MISSING: Final = ("no_certificate", "no_runtime_data", "crl_missing", "uvm_missing")


@dataclass(frozen=True, slots=True)
class Line:
    """One check for people. state: as of an `Answer`, whichever table the check stands in."""

    state: Literal["ok", "failed", "unasked", "absent", "note"]
    check: str
    sentence: str
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was asked of evidence in files, and what came of it.

    statement: what the machine says, only where it proved to be genuine.
    """

    judgement: Judgement
    lines: tuple[Line, ...]
    not_checked: tuple[str, ...]
    statement: Statement | None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that failed, in order."""
        return tuple(line.finding for line in self.lines if line.finding is not None)


def inspect_evidence(
    bundle: Bundle,
    roots: Roots,
    now: datetime,
    *,
    trust: Trust | None = None,
    execution_policy: bytes | None = None,
) -> Inspection:
    """Judge evidence in files against a trust file, or without one against what is assumed.

    roots: `trust.roots()` where there is a trust file. execution_policy: the policy whose SHA-256
    HOST_DATA has to be. now: with a time zone.
    """
    diagnosis = examine(bundle, roots, now)
    said = diagnosis.statement
    genuine = [_line(answer) for answer in diagnosis.answers]
    told = {error.code for error in diagnosis.failures} | _given(bundle)
    acceptable = [
        line
        for line in (*_expected(said, trust, now), *_software(said, execution_policy))
        if line.finding is None or line.finding.code not in told
    ]
    judgement = _worst([error.code for error in diagnosis.failures], acceptable)
    return Inspection(
        judgement=judgement,
        lines=(*genuine, *acceptable),
        not_checked=(
            *_unasked(diagnosis.answers),
            *_not_asked_for(bundle, trust, said, execution_policy),
        ),
        statement=None if diagnosis.failures else said,
    )


def _given(bundle: Bundle) -> set[str]:
    """Codes that would say of a file that came that it is missing: it was refused already."""
    codes = {"uvm_missing": bundle.uvm, "crl_missing": bundle.crl}
    return {code for code, data in codes.items() if data is not None}


def _worst(codes: Sequence[str], acceptable: Sequence[Line]) -> Judgement:
    unwanted = [line.finding.code for line in acceptable if line.finding is not None]
    failed = [code for code in codes if code not in _MISSING]
    if any(not code.endswith(_TIME) for code in failed):
        return "crypto-reject"
    if failed:
        return "time-reject"
    if any(code not in _MISSING for code in unwanted):
        return "policy-reject"
    return "incomplete" if codes or unwanted else "accept"


def _line(answer: Answer) -> Line:
    finding = None if answer.failure is None else _finding(answer.failure)
    return Line(answer.state, answer.check, answer.sentence, finding)


def _finding(error: EvidenceError) -> Finding:
    return Finding(error.code, error.seen or error.what, error.wanted, error.hint)


def _expected(said: Statement | None, trust: Trust | None, now: datetime) -> Iterator[Line]:
    if said is None:
        return
    if trust is None:
        outcomes = examine_statement(said, assumed.TRUST, now=now, checks=assumed.checks(said))
    else:
        outcomes = examine_statement(said, trust, now=now)
    for outcome in outcomes:
        yield from _outcome_lines(outcome)


def _outcome_lines(outcome: Outcome) -> Iterator[Line]:
    for finding in outcome.findings:
        yield Line("failed", "expected", finding.code, finding)
    if not outcome.findings and outcome.sentence:
        yield Line("note" if outcome.remark else "ok", "expected", outcome.sentence)


def _software(said: Statement | None, execution_policy: bytes | None) -> Iterator[Line]:
    if said is None or execution_policy is None:
        return
    seen, wanted = said.report.host_data, hashlib.sha256(execution_policy).digest()
    if hmac.compare_digest(seen, wanted):
        yield Line("ok", "host data", "SHA-256 of the execution policy")
        return
    finding = Finding(
        "host_data",
        seen.hex(),
        f"{wanted.hex()}, SHA-256 of the execution policy",
        _policy_hint(execution_policy),
    )
    yield Line("failed", "host data", "HOST_DATA is not of the execution policy", finding)


def _policy_hint(execution_policy: bytes) -> str:
    """A host hands the policy over in base64, and what it hashed is the text."""
    seen = file_kinds.kind_of(execution_policy)
    if seen == file_kinds.BASE64:
        return f"the file looks like {seen}"
    return "the policy's hash changes with every byte of it"


def _unasked(answers: Sequence[Answer]) -> Iterator[str]:
    """What could not be asked because something else failed or is missing."""
    names: dict[str, list[str]] = {}
    for answer in answers:
        if answer.state == "unasked":
            names.setdefault(answer.sentence, []).append(answer.check)
    for why, checks in names.items():
        yield f"{', '.join(checks)}: {why}"


def _not_asked_for(
    bundle: Bundle, trust: Trust | None, said: Statement | None, execution_policy: bytes | None
) -> Iterator[str]:
    """What a reader might take for checked, and nobody asked for."""
    if trust is None:
        yield "which chip, processor line and firmware"
    if bundle.crl is None and (trust is None or said is None):
        yield "revocation (no list)"
    if trust is None and not (said is not None and assumed.asks_for_issuer(said)):
        yield "what was launched: MEASUREMENT (no endorsement we know, no trust file)"
    if execution_policy is None and trust is None:
        yield "what runs: HOST_DATA (no execution policy, no trust file)"
    if trust is not None:
        yield "which models are served"
    yield "freshness: files answer no nonce of yours"
