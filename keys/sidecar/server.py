"""The sidecar on its socket, from the ready line to SIGTERM."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import stat
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass

from sealserve.attestation.evidence import EvidenceSource
from sealserve.keys import serving
from sealserve.keys.connection import SIMULATED
from sealserve.keys.sidecar import app, provider
from sealserve.keys.sidecar.allowed import Allowed, Options
from sealserve.keys.sidecar.environment import Environment
from sealserve.keys.sidecar.events import Event, Log
from sealserve.keys.sidecar.service import Sidecar
from sealserve.native.errors import ConfigError

DEFAULT_PORT = 8080
DRAIN_SECONDS = 130  # a release asks two services, each of which has a minute
_STDERR = 2


@dataclass(frozen=True, slots=True)
class Listen:
    """host: an address of the loopback. provider_port: of the gRPC key provider, None without.

    keys_folder: where the key provider finds public keys to wrap to; "" for none.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    provider_port: int | None = None
    keys_folder: str = ""

    def __post_init__(self) -> None:
        """Raises ConfigError for an address that others could reach."""
        try:
            ours = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            ours = False
        if not ours:
            raise ConfigError(
                f"{self.host[:80]!r} is no address of the loopback",
                key="--host",
                hint="whoever reaches a sidecar gets its keys: 127.0.0.1 or ::1",
            )

    def address(self, port: int) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def run(
    listen: Listen,
    options: Options,
    environment: Environment,
    find: Callable[[Callable[[str], None]], EvidenceSource],
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT. announce: called once with the ready line.

    find: the source of evidence, told whom to tell what its machine lacks meanwhile.
    Raises ConfigError, and UnavailableError without a platform, a trust service or the port.
    """
    if environment.log_file:
        _log_into(environment.log_file)
    log = Log(environment.log_level)
    source = find(lambda why: log(Event.COLLATERAL_MISSING, why=why))
    allowed = Allowed.of(options, source.platform)
    sidecar = Sidecar(
        source,
        allowed,
        log,
        user_agent=environment.user_agent,
    )
    with closing(sidecar):
        sidecar.probe()
        listener = serving.bound(listen.address(listen.port), what="sidecar")
        serving.limit_descriptors()
        routes = app.build(sidecar, app.names_of(listen.host, listen.port))
        server = serving.Server(
            serving.config_of(routes, drain_seconds=DRAIN_SECONDS),
            announce=lambda: announce(_ready(listen, allowed, source.platform)),
            failed=lambda error: log(Event.FAILED, what="event loop", error=error),
        )
        with _provider(listen, sidecar):
            asyncio.run(server.serve([listener]))


def _provider(listen: Listen, sidecar: Sidecar) -> nullcontext[None] | provider.Served:
    if listen.provider_port is None:
        return nullcontext()
    address = listen.address(listen.provider_port)
    return provider.Served(address, provider.KeyProvider(sidecar, listen.keys_folder))


def _ready(listen: Listen, allowed: Allowed, platform: str) -> str:
    """The one line on stdout."""
    kind = "simulated, proves nothing about hardware" if platform == SIMULATED else platform
    grpc = listen.provider_port
    beside = f", key provider {listen.address(grpc)}" if grpc is not None else ""
    vaults = sorted({vault for vault, _ in allowed.places})
    return (
        f"ready: sidecar http://{listen.address(listen.port)}{beside}; platform {kind}; "
        f"vaults {', '.join(vaults) or 'none'}; keys {', '.join(sorted(allowed.keys)) or 'none'}"
    )


def _log_into(path: str) -> None:
    """Append stderr to a file, which is made for us alone if it is not there. ConfigError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise _no_log(str(error.strerror).lower()) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _no_log("not a regular file")
        os.dup2(descriptor, _STDERR)
    finally:
        os.close(descriptor)


def _no_log(why: str) -> ConfigError:
    return ConfigError(f"cannot be written: {why}", file="environment", key="LogFile")
