"""Certificates and revocation lists on disk, so that a start needs nobody's service.

A file is only ever bytes to try: whatever comes out of it is verified at each use, so a changed one
costs a fetch and nothing else. Names say for which product, chip and TCB a file is.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from sealserve.attestation import tcb
from sealserve.attestation.crl import MAX_CRL_BYTES
from sealserve.attestation.report import Report, SigningKey
from sealserve.attestation.tcb import Line

_SYSTEM: Final = Path("/var/cache/sealserve/amd")


class Cache:
    """One directory of small files. None keeps nothing.

    trouble: why the last write failed, empty if it did not; a machine whose disks are read-only
    serves as well, only slower at its next start.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.trouble = ""

    def get(self, name: str) -> bytes | None:
        """What was put under this name, None if that cannot be read or is unlike us."""
        if self.directory is None:
            return None
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            with os.fdopen(os.open(self.directory / name, flags), "rb") as file:
                data = file.read(MAX_CRL_BYTES + 1)
        except OSError:
            return None
        return data if 0 < len(data) <= MAX_CRL_BYTES else None

    def put(self, name: str, data: bytes) -> None:
        """Keep this under the name: all of it or nothing, for this user alone."""
        if self.directory is None:
            return
        beside = self.directory / f".{secrets.token_hex(8)}"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                _write(beside, data)
                beside.replace(self.directory / name)
            finally:
                with suppress(FileNotFoundError):
                    beside.unlink()
        except OSError as error:
            self.trouble = f"{self.directory}: {str(error.strerror).lower()}"
        else:
            self.trouble = ""


def directory_of(environ: Mapping[str, str]) -> Path:
    """Below HOME, the only variable for it that a server's environment keeps; or the system's."""
    home = Path(environ.get("HOME", ""))
    return home / ".cache" / "sealserve" / "amd" if home.is_absolute() else _SYSTEM


def leaf_name(report: Report, line: Line) -> str:
    """The file for the VCEK of this chip at this TCB."""
    chip = report.chip_id[: tcb.CHIP_ID_BYTES[line]].hex()
    return f"{line}-{chip}-{report.reported_tcb.hex()}.vcek"


def intermediate_name(line: Line, kind: SigningKey) -> str:
    """The file for an intermediate of this line that is newer than the one we ship."""
    return f"{line}-{kind}.intermediate"


def list_name(line: Line, kind: SigningKey) -> str:
    """The file for the revocation list of this line, for intermediates of this kind."""
    return f"{line}-{kind}.crl"


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
