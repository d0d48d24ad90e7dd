"""The firmware we recommend as a least acceptable one, per product line, with the day it was set.

Where the numbers come from, and how sure they are:

    snp of Milan and Genoa   the first levels after AMD-SB-3019 (microcode loader, CVE-2024-56161),
                             as CCF enforces them (issue 6812 there). Not compared with AMD's text
    all others               the least that evidence of 2025 and 2026 reported at that snp level, on
                             Azure but for Zen 4c; it verifies. Seen in use, not known to be needed

No bulletin of AMD's was consulted: whoever owns a trust file has to compare these with the current
ones. Microcode is numbered per CPU model: Bergamo and Siena (Zen 4c, model 0xA0) stand at 25 where
Genoa proper stands at 84, so they have a table of their own.

A recommendation is written into a trust file, never looked up by a check: what a file says stays.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from sealserve.attestation.tcb import Line, Tcb

DATE = datetime.date(2026, 9, 1)
MAX_AGE = datetime.timedelta(days=365)

RECOMMENDED: Mapping[Line, Mapping[str, Tcb]] = {
    "milan": {"milan": Tcb(bootloader=4, tee=0, snp=24, microcode=219)},
    "genoa": {
        "genoa": Tcb(bootloader=10, tee=0, snp=23, microcode=84),
        "genoa-a0": Tcb(bootloader=10, tee=0, snp=23, microcode=25),
    },
    "turin": {"turin": Tcb(fmc=1, bootloader=1, tee=1, snp=4, microcode=81)},
}

_ORIGIN = {
    "milan": "snp: AMD-SB-3019, as CCF enforces it; the rest: seen on Azure in 2025/26",
    "genoa": "snp: AMD-SB-3019, as CCF enforces it; the rest: seen on Azure in 2025/26",
    "genoa-a0": "Zen 4c (Bergamo, Siena) numbers microcode otherwise: seen on one machine",
    "turin": "seen on one machine on Azure",
}


def is_old(today: datetime.date) -> bool:
    """Whether the recommendation was set more than a year before."""
    return today - DATE > MAX_AGE


def toml(lines: Sequence[Line]) -> list[str]:
    """The recommended tables of these lines, as they stand in a trust file."""
    parts = [
        f"# Least firmware, as recommended on {DATE}. It was not compared with AMD's",
        "# bulletins: whoever owns this file has to review it.",
    ]
    for line in lines:
        for table, tcb in RECOMMENDED[line].items():
            parts += [f"[hardware.tcb.{table}]", f"# {_ORIGIN[table]}"]
            parts += [f"{component} = {level}" for component, level in tcb.components().items()]
    return parts
