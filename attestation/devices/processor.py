"""Which of AMD's lines is the processor we run on? For reports too old to say it themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sealserve.attestation import tcb
from sealserve.attestation.tcb import Line

CPUINFO: Final = Path("/proc/cpuinfo")
_MAX_CPUINFO_BYTES: Final = 4096  # the first processor is enough


def line_of_processor(cpuinfo: Path) -> Line | None:
    """The line of the processor we run on, None if the file says nothing we know."""
    try:
        with cpuinfo.open("rb") as file:
            text = file.read(_MAX_CPUINFO_BYTES).decode("ascii", "replace")
    except OSError:
        return None
    fields = {
        name.strip(): value.strip()
        for name, separator, value in (line.partition(":") for line in text.splitlines())
        if separator
    }
    family, model = fields.get("cpu family", ""), fields.get("model", "")
    if fields.get("vendor_id") != "AuthenticAMD" or not (family.isdigit() and model.isdigit()):
        return None
    return tcb.line_of(int(family), int(model))
