"""What one check of an appraisal takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sealserve.attestation.verify import Statement
from sealserve.native.errors import Finding
from sealserve.policy.expectations import Bits
from sealserve.policy.trust import Trust


@dataclass(frozen=True)
class Case:
    """What is to be judged, against what, and when (UTC).

    claims: for a verdict the claims of genuine evidence, for a diagnosis what evidence merely says.
    """

    claims: Statement
    trust: Trust
    now: datetime


@dataclass(frozen=True)
class Outcome:
    """What a check compared, as a sentence for the verdict, and what it found amiss.

    remark: nothing was compared, and the sentence says why; without a sentence nobody asked.
    """

    sentence: str
    findings: tuple[Finding, ...] = ()
    remark: bool = False


Check = Callable[[Case], Outcome]
NOT_ASKED = Outcome("")


def judge(sentence: str, met: bool, code: str, seen: str, wanted: str, hint: str = "") -> Outcome:
    """The outcome of one comparison; `sentence` counts only if it was met."""
    return Outcome(sentence, () if met else (Finding(code, seen, wanted, hint),))


def remark(sentence: str) -> Outcome:
    """The outcome where the trust file asks for no comparison."""
    return Outcome(sentence, remark=True)


def refuse(code: str, seen: str, wanted: str, hint: str = "") -> Outcome:
    """The outcome where there was nothing to compare with."""
    return Outcome("", (Finding(code, seen, wanted, hint),))


def bits(name: str, seen: object, wanted: Bits) -> Outcome:
    """The outcome for bits of a report, which are attributes of `seen` by the names in `wanted`."""
    if not wanted.set and not wanted.clear:
        return NOT_ASKED
    states = {**dict.fromkeys(wanted.set, True), **dict.fromkeys(wanted.clear, False)}
    told = [f"{bit} {_state(state)}" for bit, state in states.items()]
    findings = [
        Finding(f"{name}_{bit}", f"{bit} {_state(not state)}", f"{bit} {_state(state)}")
        for bit, state in states.items()
        if getattr(seen, bit) != state
    ]
    return Outcome(f"{name}: {', '.join(told)}", tuple(findings))


def _state(on: bool) -> str:
    return "set" if on else "clear"


def short(digest: bytes) -> str:
    """Enough of a digest to recognise it in a sentence."""
    return f"{digest.hex()[:16]}…"
