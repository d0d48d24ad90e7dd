"""The configuration file: limits, for whoever needs others than the defaults.

It stands beside the measured command line, so its SHA-256 has to stand in it (`--config-sha256`).
Nothing that chooses what is served, to whom or with which key may be written here.

    version = 1
    [limits]
    message_bytes = 67108864
    calls = 32
    running = 4
"""

from __future__ import annotations

import hashlib
from typing import Final

from sealserve.inference.server.config import Limits
from sealserve.native.errors import ConfigError
from sealserve.policy.toml_table import MAX_FILE_BYTES, read

__all__ = ["BOUNDS", "MAX_FILE_BYTES", "limits_of"]

_VERSION: Final = 1
# Lowest and highest value of each limit.
BOUNDS: Final = {
    "message_bytes": (1024, 2**31 - 1),  # gRPC counts messages in a signed 32-bit number
    "calls": (1, 65536),
    "connections": (1, 65536),
    "connection_seconds": (1, 86400),
    "running": (1, 256),
    "waiting": (1, 65536),
    "threads": (1, 256),
    "request_seconds": (1, 3600),
    "drain_seconds": (1, 3600),
    "rotation_hours": (1, 360),  # half of a certificate's life: the next one still has to be valid
}


def limits_of(data: bytes, sha256: str, *, file: str) -> Limits:
    """The limits that the file sets, the defaults for the others.

    sha256: 64 hexadecimal digits from the command line. Raises ConfigError with file, line, key.
    """
    seen = hashlib.sha256(data).hexdigest()
    if sha256.lower() != seen:
        raise ConfigError(
            f"the file has the SHA-256 {seen}; the command line wants {sha256[:80] or 'none'}",
            file=file,
            key="--config-sha256",
            hint="the digest is measured, the file is not: give the digest of the file you mean",
        )
    top = read(data, file)
    top.expect(("version", "limits"))
    top["version"].integer(_VERSION, _VERSION)
    table = top["limits"].table()
    table.expect((), tuple(BOUNDS))
    return Limits(**{name: table[name].integer(*BOUNDS[name]) for name in table})
