"""HOST:PORT as people type it."""

from __future__ import annotations

import re

from sealserve.native.errors import ConfigError

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(:(?P<port>[0-9]{1,5}))?")


def parse_address(text: str, *, default_port: int) -> tuple[str, int]:
    """`host`, `host:port` or `[ipv6]:port`, as host (without brackets) and port.

    Raises ConfigError for anything else; a scheme such as `https://` is something else.
    """
    match = _ADDRESS.fullmatch(text)
    port = int(match["port"] or default_port) if match else -1
    if match is None or not match["host"] or not 0 <= port <= 65535:
        raise ConfigError(
            f"{text[:120]!r} is no address",
            hint="write HOST:PORT, and an IPv6 address in brackets: [::1]:8001",
        )
    return match["host"].strip("[]"), port


def format_address(host: str, port: int) -> str:
    """The text `parse_address` reads."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
