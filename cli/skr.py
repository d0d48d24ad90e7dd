"""`sealserve skr`: the sidecar, for containers written for Microsoft's.

Importing this module loads nothing that starts a thread: the process is hardened first.
"""

from __future__ import annotations

import os
from functools import partial

import click

from sealserve.native.errors import ConfigError

EPILOG = (
    "Example: sealserve skr --vault trustd:vault.example:8443 --vault-ca-sha256 51d0… "
    "--key model-key"
)
_port = click.IntRange(1, 65535)


@click.command("skr", epilog=EPILOG)
@click.option(
    "--vault",
    "vaults",
    metavar="HOST",
    multiple=True,
    help="Key vault that may be asked, repeatable: trustd:HOST:PORT, or an Azure host.",
)
@click.option(
    "--vault-ca-sha256",
    "ca_sha256",
    metavar="HEX",
    multiple=True,
    help="SHA-256 of the certificate authority of a trustd: vault; one for each, in their order.",
)
@click.option(
    "--attestation-service",
    "services",
    metavar="URL",
    multiple=True,
    help="Attestation service that may be asked; repeatable. trustd: brings its own.",
)
@click.option(
    "--key",
    "keys",
    metavar="NAME[/VERSION]",
    multiple=True,
    help="Vault key that may be released; repeatable.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where to listen; an address of the loopback.",
)
@click.option("--port", type=_port, help="Port for REST. [default: $Port, or 8080]")
@click.option(
    "--key-provider",
    "provider_port",
    type=_port,
    metavar="PORT",
    help="Serve the gRPC key provider too, at this port.",
)
@click.option(
    "--key-provider-keys",
    "keys_folder",
    default="",
    metavar="DIR",
    help="Where the key provider finds NAME-info.json and public keys to wrap to.",
)
def command(
    vaults: tuple[str, ...],
    ca_sha256: tuple[str, ...],
    services: tuple[str, ...],
    keys: tuple[str, ...],
    host: str,
    port: int | None,
    provider_port: int | None,
    keys_folder: str,
) -> None:
    """Attestation and key release for the other containers of a group, by Microsoft's protocol.

    Callers name a vault, a service and a key in each request; only those of this command line,
    which the execution policy measures, are asked. Of the environment SkrSideCarArgs, Port,
    LogLevel, LogFile, ServerType and the variables of a workload identity are read, and choose
    none of them. Prints one line when it answers. SIGTERM ends it once the requests under way
    have finished.
    """
    from sealserve.inference.server.guard import guard
    from sealserve.native import dumps

    given = dict(os.environ)
    guard(os.environ)
    dumps.forbid()
    # From here on threads may start.
    from sealserve.attestation import devices
    from sealserve.keys.sidecar import server
    from sealserve.keys.sidecar.allowed import Options
    from sealserve.keys.sidecar.environment import Environment

    environment = Environment.read(given)
    if environment.grpc and provider_port is None:
        raise ConfigError(
            "is grpc, and the command line does not turn the key provider on",
            file="environment",
            key="ServerType",
            hint="start with --key-provider PORT, which the execution policy then measures",
        )
    listen = server.Listen(
        host, port or environment.port or server.DEFAULT_PORT, provider_port, keys_folder
    )
    options = Options(vaults, ca_sha256, services, keys, environment.identity)
    find = partial(devices.detect, os.environ)
    server.run(listen, options, environment, find, click.echo)
