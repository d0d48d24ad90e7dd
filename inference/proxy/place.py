"""Where a proxy listens. What arrives there is in plain text, so it is this machine's alone."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealserve.inference.wire.address import format_address, parse_address
from sealserve.native.errors import ConfigError, UnavailableError

DEFAULT_PORT: Final = 8001
_UNIX: Final = "unix:"
_PROBE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """An address (host, port), or a Unix socket (path). anywhere: whether others may reach it."""

    host: str = ""
    port: int = 0
    path: str = ""
    anywhere: bool = False

    def text(self, port: int = 0) -> str:
        """As gRPC and people write it. port: the one that was given, where any would do."""
        if self.path:
            return f"{_UNIX}{self.path}"
        return format_address(self.host, port or self.port)

    def require_free(self) -> None:
        """UnavailableError if somebody answers at the Unix socket; gRPC would take its place."""
        if not self.path:
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_SECONDS)
            try:
                probe.connect(self.path)
            except OSError:
                return
        raise taken(self)


def parse_place(text: str, *, anywhere: bool = False) -> Place:
    """`HOST:PORT` of the loopback, or `unix:PATH`.

    anywhere: whether an address that others can reach will do. Raises ConfigError.
    """
    if text.startswith(_UNIX):
        return Place(path=_socket_path(text.removeprefix(_UNIX)))
    host, port = parse_address(text, default_port=DEFAULT_PORT)
    host = "127.0.0.1" if host == "localhost" else host
    if _is_loopback(host):
        return Place(host, port)
    if not anywhere:
        raise ConfigError(
            f"{host} can be reached from elsewhere, and what arrives is in plain text",
            key="--listen",
            hint="127.0.0.1, [::1] or unix:PATH; --listen-anywhere if you must",
        )
    return Place(host, port, anywhere=True)


def taken(place: Place) -> UnavailableError:
    """The error for a place that cannot be had."""
    return UnavailableError(
        f"cannot listen on {place.text()}: somebody else does, or it is not ours",
        hint="stop the other program, or choose another place with --listen",
    )


def _socket_path(path: str) -> str:
    if not path or "\0" in path:
        raise ConfigError("names no socket", key="--listen", hint="unix:/run/user/1000/proxy")
    return str(Path(path).absolute())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name means whatever somebody's resolver says
        return False
