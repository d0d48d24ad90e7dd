"""Roots of layers that were converted before, by the SHA-256 of their tar.

A cached root saves converting, not reading: a layer is hashed all the same and has to be the one
its image names. An entry is one line, the root and a checksum, in a file of the diff id's name.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sealserve.policy.execution.layers import convert
from sealserve.policy.execution.layers.limits import MIB
from sealserve.policy.execution.layers.stream import Source

# Of the way from a tar to a root; entries of another way are in another folder.
_FORM = "tar2ext4-128GiB-verity-1"
_LINE = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{64})\n")
_LINE_BYTES = 130
_WRITABLE_BY_OTHERS = 0o022


@dataclass(frozen=True)
class Cache:
    """folder: where entries are; made when the first is written. None: nothing is kept."""

    folder: Path | None

    def root(self, source: Source, diff_id: str) -> tuple[str, str]:
        """The root of a layer that should have this diff id, and the one that it has."""
        known = self._read(diff_id)
        if known:
            return known, _sha256(source)
        layer = convert(source)
        root, seen = layer.root.hex(), layer.diff_id.hex()
        self._write(seen, root)
        return root, seen

    def _read(self, diff_id: str) -> str:
        """The root, or nothing where there is no entry that only we can have written."""
        if self.folder is None:
            return ""
        try:
            with (self.folder / _FORM / diff_id).open("rb", buffering=0) as file:
                about = os.fstat(file.fileno())
                line = file.read(_LINE_BYTES + 1).decode("ascii", "replace")
        except OSError:
            return ""
        if about.st_uid != os.geteuid() or about.st_mode & _WRITABLE_BY_OTHERS:
            return ""
        match = _LINE.fullmatch(line)
        return match[1] if match and line == _line(diff_id, match[1]) else ""

    def _write(self, diff_id: str, root: str) -> None:
        """A new file under another name, then renamed. Where it cannot be kept, it is not."""
        if self.folder is None:
            return
        folder = self.folder / _FORM
        partial = folder / f".{secrets.token_hex(8)}"
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                partial.write_text(_line(diff_id, root), encoding="ascii")
                partial.chmod(0o600)
                partial.replace(folder / diff_id)
            finally:
                partial.unlink(missing_ok=True)


def _line(diff_id: str, root: str) -> str:
    """The checksum tells an entry that was damaged, or put under another name."""
    checksum = hashlib.sha256(f"{_FORM} {diff_id} {root}".encode()).hexdigest()
    return f"{root} {checksum}\n"


def _sha256(source: Source) -> str:
    digest, view = hashlib.sha256(), memoryview(bytearray(MIB))
    while got := source.readinto(view):
        digest.update(view[:got])
    return digest.hexdigest()
