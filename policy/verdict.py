"""The verdict: what a machine was found to be, and against what it was measured.

There is none for a machine that failed: `appraise` raises then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sealserve.attestation.tcb import Line, Tcb
from sealserve.policy.expectations import Kind

SIMULATED_BANNER = "SIMULATED PLATFORM: this verdict proves nothing about hardware"


@dataclass(frozen=True)
class Verdict:
    """A genuine machine that meets every expectation of one trust file.

    policy_sha256, measurement, chip_id: lower-case hex; policy_note is what the trust file says
    beside that policy. tcb: the reported one. checked: one sentence per check, what was compared
    with what, in order. remarks: what was not compared, and why. dangers: the checks the trust file
    switches off. at: the time used.
    """

    trust_name: str
    platform: Kind
    line: Line
    policy_sha256: str
    policy_note: str
    measurement: str
    chip_id: str
    tcb: Tcb
    checked: tuple[str, ...]
    remarks: tuple[str, ...]
    dangers: tuple[str, ...]
    at: datetime

    def explain(self) -> str:
        """The verdict for people: every check, every remark, then every danger."""
        lines = [
            f'acceptable to "{self.trust_name}" at {self.at.isoformat(timespec="seconds")}',
            *(f"  ok      {sentence}" for sentence in self.checked),
            *(f"  note    {sentence}" for sentence in self.remarks),
            *(f"  DANGER  {sentence}" for sentence in self.dangers),
        ]
        if self.platform == "simulated":
            lines.append(f"  {SIMULATED_BANNER}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The verdict for programs: JSON values only."""
        return {
            "at": self.at.isoformat(),
            "checked": list(self.checked),
            "chip_id": self.chip_id,
            "dangers": list(self.dangers),
            "line": self.line,
            "measurement": self.measurement,
            "platform": self.platform,
            "policy_note": self.policy_note,
            "policy_sha256": self.policy_sha256,
            "remarks": list(self.remarks),
            "tcb": self.tcb.components(),
            "trust_name": self.trust_name,
        }
