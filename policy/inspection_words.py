"""An inspection in words: for people line by line, for programs as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from sealserve.attestation.verify import Statement
from sealserve.native.errors import Finding, printable
from sealserve.policy.inspection import Inspection, Judgement, Line
from sealserve.policy.trust import Trust
from sealserve.policy.verdict import SIMULATED_BANNER

WIDTH: Final = 79  # a terminal of 80 columns, some of which break a line that fills them
CHECK_WIDTH: Final = 21
_MARKS: Final[Mapping[str, str]] = {"ok": "ok", "failed": "FAIL", "unasked": "--", "note": "note"}
_WORDS: Final[Mapping[Judgement, str]] = {
    "incomplete": "INCOMPLETE",
    "crypto-reject": "REJECTED, not genuine",
    "time-reject": "REJECTED, not valid at this time",
    "policy-reject": "REJECTED, not what is expected",
}


def to_json(inspection: Inspection) -> dict[str, object]:
    """For programs: JSON values only."""
    return {
        "verdict": inspection.judgement,
        "failures": [_failure(finding) for finding in inspection.findings],
        "not_checked": list(inspection.not_checked),
        "claims": {} if inspection.statement is None else _claims(inspection.statement),
    }


def _failure(finding: Finding) -> dict[str, str]:
    return {
        "code": finding.code,
        "seen": finding.seen,
        "wanted": finding.wanted,
        "hint": finding.hint,
    }


def _claims(said: Statement) -> dict[str, object]:
    report, endorsement = said.report, said.endorsement
    return {
        "platform": said.platform,
        "line": said.line,
        "signing_key": said.signing_key,
        "csp_id": said.csp_id,
        "chip_id": said.chip_id.hex(),
        "version": report.version,
        "firmware": str(report.current_firmware),
        "tcb": {
            "reported": said.reported_tcb.components(),
            "committed": said.committed_tcb.components(),
            "current": said.current_tcb.components(),
            "launch": said.launch_tcb.components(),
        },
        "cpuid": None if report.cpuid is None else list(report.cpuid),
        "policy": f"0x{report.policy_raw:x}",
        "platform_info": f"0x{report.platform_info.raw:x}",
        "vmpl": report.vmpl,
        "guest_svn": report.guest_svn,
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "report_data": report.report_data.hex(),
        "report_id": report.report_id.hex(),
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "crl_this_update": said.crl_this_update and said.crl_this_update.isoformat(),
        "uvm": endorsement
        and {
            "issuer": endorsement.issuer,
            "feed": endorsement.feed,
            "svn": endorsement.svn,
            "measurement": endorsement.measurement.hex(),
            "signed_at": endorsement.signed_at.isoformat(),
        },
    }


def explain(inspection: Inspection, trust: Trust | None) -> str:
    """For people: one line per check in its order, then the verdict, on 80 columns."""
    lines = [text for line in inspection.lines if line.state != "absent" for text in _line(line)]
    return "\n".join([*lines, "", *_summary(inspection, trust)])


def _line(line: Line) -> Iterator[str]:
    finding = line.finding
    words = line.sentence if finding is None else _named(finding.code, line.sentence)
    yield from _wrapped(f"  {_MARKS[line.state]:<6}{line.check:<{CHECK_WIDTH}}", words)
    if finding is not None:
        for side, text in (
            ("seen", finding.seen),
            ("wanted", finding.wanted),
            ("hint", finding.hint),
        ):
            if text and text != line.sentence:
                yield from _wrapped(f"          {side:<8}", text)


def _named(code: str, sentence: str) -> str:
    return code if sentence == code else f"{code}: {sentence}"


def _summary(inspection: Inspection, trust: Trust | None) -> Iterator[str]:
    judgement, said = inspection.judgement, inspection.statement
    rest = "; ".join(inspection.not_checked)
    if judgement == "accept":
        whose = "" if trust is None else f', acceptable to "{trust.name}"'
        yield from _wrapped("", f"genuine{whose}; NOT CHECKED: {rest}", "  ")
    else:
        codes = ", ".join(finding.code for finding in inspection.findings)
        words = _WORDS[judgement] if said is None else f"genuine, but {_WORDS[judgement]}"
        if judgement == "incomplete" and said is None:
            words += ", nothing is proven"
        yield from _wrapped("", f"{words}: {codes}", "  ")
        yield from _wrapped("", f"NOT CHECKED: {rest}", "  ")
    if said is not None and said.platform == "simulated":
        yield SIMULATED_BANNER


def _wrapped(start: str, words: str, indent: str = "") -> list[str]:
    """Lines of at most WIDTH; long digests are broken where they have to be."""
    return textwrap.wrap(
        printable(words),
        WIDTH,
        initial_indent=start,
        subsequent_indent=indent or " " * len(start),
        break_on_hyphens=False,
    )
