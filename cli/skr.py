"""`sealserve skr`: the sidecar, for containers written for Microsoft's.

Importing this module loads nothing that starts a thread: the process is hardened first.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

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
@click.option(
    "-infile",
    "--infile",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Wrap this file to a key, and end; with -keypath and -outfile.",
)
@click.option(
    "-keypath",
    "--keypath",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The key to wrap to: FOLDER/NAME, where NAME-info.json and its public key lie.",
)
@click.option(
    "-outfile",
    "--outfile",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the wrapped file is written, in base64, as the key provider unwraps it.",
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
    infile: Path | None,
    keypath: Path | None,
    outfile: Path | None,
) -> None:
    """Attestation and key release for the other containers of a group, by Microsoft's protocol.

    Callers name a vault, a service and a key in each request; only those of this command line,
    which the execution policy measures, are asked. Of the environment SkrSideCarArgs, Port,
    LogLevel, LogFile, ServerType and the variables of a workload identity are read, and choose
    none of them. Prints one line when it answers. SIGTERM ends it once the requests under way
    have finished.
    """
    if infile or keypath or outfile:
        _wrap(infile, keypath, outfile)
        return
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


def _wrap(infile: Path | None, keypath: Path | None, outfile: Path | None) -> None:
    """Microsoft's way to wrap a file: it asks nobody, and answers nobody."""
    from sealserve.cli import files
    from sealserve.keys.sidecar import wrapping

    if infile is None or keypath is None or outfile is None:
        given = {"-infile": infile, "-keypath": keypath, "-outfile": outfile}
        raise ConfigError(
            f"{', '.join(name for name, value in given.items() if value is None)} missing",
            key="-infile",
            hint="-infile FILE -keypath FOLDER/NAME -outfile FILE",
        )
    plaintext = files.read(infile, wrapping.MAX_FILE_BYTES)
    files.write(outfile, wrapping.wrap_file(plaintext, keypath), inputs=(infile,))
