"""The firmware we recommend as a least acceptable one, per product line, with the day it was set.

Components of the TCB that confidential containers of Azure reported in 2025 and 2026; Milan SNP 24
and Genoa SNP 23 are the first after AMD-SB-3019 (microcode loader, CVE-2024-56161). Microcode is
numbered per CPU model: Bergamo and Siena (model 0xA0) stand at 25 where Genoa proper stands at 84.
A recommendation is written into a trust file, never looked up by a check: what a file says stays.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from sealserve.attestation.tcb import Line, Tcb

DATE = datetime.date(2026, 9, 1)

RECOMMENDED: Mapping[Line, Mapping[str, Tcb]] = {
    "milan": {"milan": Tcb(bootloader=4, tee=0, snp=24, microcode=219)},
    "genoa": {
        "genoa": Tcb(bootloader=10, tee=0, snp=23, microcode=84),
        "genoa-a0": Tcb(bootloader=10, tee=0, snp=23, microcode=25),
    },
    "turin": {"turin": Tcb(fmc=1, bootloader=1, tee=1, snp=4, microcode=81)},
}
