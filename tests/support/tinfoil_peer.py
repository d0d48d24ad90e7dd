"""A program for the virtual environment of `tinfoil`: it knows nothing of ours.

    python tinfoil_peer.py FOLDER COUNT

Verifies FOLDER/N.report for each N below COUNT. The one thing it would download, the VCEK, is
answered with FOLDER/N.leaf. Prints one JSON array: what was read of a good report, or the refusal.
"""

from __future__ import annotations

import base64
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from tinfoil.attestation import (
    attestation_sev,  # type: ignore[import-not-found]
    verify_sev,
)

FIELDS = ("measurement", "host_data", "report_data", "chip_id")
# Nothing is expected of the values: those are compared by whoever reads our answer.
ANY = attestation_sev.ValidationOptions()


class Recorded:
    """An answer of AMD's key distribution service."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def raise_for_status(self) -> None:
        """It went well."""


def judge(folder: Path, number: int) -> dict[str, str]:
    """One report."""
    leaf = (folder / f"{number}.leaf").read_bytes()
    verify_sev.requests.get = lambda url, **_: Recorded(leaf)
    verify_sev._VCEK_CACHE_DIR = str(folder / f"{number}.cache")
    document = base64.b64encode((folder / f"{number}.report").read_bytes()).decode()
    try:
        with redirect_stdout(sys.stderr):  # it prints its reasons
            report = attestation_sev.verify_sev_report(document, False, ANY)
    except attestation_sev.SevAttestationError as error:
        return {"refused": str(error)}
    return {field: getattr(report, field).hex() for field in FIELDS}


if __name__ == "__main__":
    json.dump([judge(Path(sys.argv[1]), n) for n in range(int(sys.argv[2]))], sys.stdout)
