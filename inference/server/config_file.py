"""The configuration file: limits and options, for whoever needs others than the defaults.

It stands beside the measured command line, so its SHA-256 has to stand in it (`--config-sha256`).
Nothing that chooses what is served, to whom or with which key may be written here.

    version = 1
    [limits]
    message_bytes = 67108864
    calls = 32
    running = 4
    [models.breast-cancer]
    batching = "required"
    batch_rows = 64
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from sealserve.inference.server.config import BATCHING, Limits, ModelOptions, Settings
from sealserve.native.errors import ConfigError
from sealserve.policy.toml_table import MAX_FILE_BYTES, Table, read

__all__ = ["BOUNDS", "MAX_FILE_BYTES", "MODEL_BOUNDS", "settings_of"]

_VERSION: Final = 1
# Lowest and highest value of each limit.
BOUNDS: Final = {
    "message_bytes": (1024, 2**31 - 1),  # gRPC counts messages in a signed 32-bit number
    "calls": (1, 65536),
    "peer_calls": (1, 65536),
    "peer_bytes": (1024, 2**47 - 1),  # as many calls, each with the longest message
    "connections": (1, 65536),
    "peer_connections": (1, 65536),
    "connection_seconds": (1, 86400),
    "running": (1, 256),
    "waiting": (1, 65536),
    "threads": (1, 256),
    "request_seconds": (1, 3600),
    "drain_seconds": (1, 3600),
    "rotation_hours": (1, 360),  # half of a certificate's life: the next one still has to be valid
}
# The same for the numbers among a model's options.
MODEL_BOUNDS: Final = {
    "threads": (1, 256),
    "running": (1, 256),
    "waiting": (1, 65536),
    "batch_rows": (2, 4096),  # one row is no batch
    "batch_delay_ms": (0, 1000),
    "warm_up_runs": (0, 100),
}


def settings_of(data: bytes, sha256: str, *, file: str) -> Settings:
    """What the file sets, and the defaults for everything else.

    sha256: 64 hexadecimal digits from the command line. Raises ConfigError with file, line, key.
    """
    require_sha256(data, sha256, file=file, option="--config-sha256")
    top = read(data, file)
    top.expect(("version",), ("limits", "models"))
    top["version"].integer(_VERSION, _VERSION)
    limits = _limits(top["limits"].table()) if "limits" in top else Limits()
    options = _all_options(top["models"].table()) if "models" in top else {}
    return Settings(limits, options)


def require_sha256(data: bytes, sha256: str, *, file: str, option: str) -> None:
    """ConfigError unless a file is the one whose digest the measured command line has."""
    seen = hashlib.sha256(data).hexdigest()
    if sha256.lower() != seen:
        raise ConfigError(
            f"the file has the SHA-256 {seen}; the command line wants {sha256[:80] or 'none'}",
            file=file,
            key=option,
            hint="the digest is measured, the file is not: give the digest of the file you mean",
        )


def _limits(table: Table) -> Limits:
    table.expect((), tuple(BOUNDS))
    return Limits(**{name: table[name].integer(*BOUNDS[name]) for name in table})


def _all_options(table: Table) -> dict[str, ModelOptions]:
    return {name: _options(table[name].table()) for name in table}


def _options(table: Table) -> ModelOptions:
    table.expect((), (*MODEL_BOUNDS, "batching"))
    values: dict[str, Any] = {
        name: table[name].integer(*MODEL_BOUNDS[name]) for name in table if name in MODEL_BOUNDS
    }
    if "batching" in table:
        values["batching"] = table["batching"].choice(BATCHING)
    return ModelOptions(**values)
