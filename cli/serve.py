"""`sealserve serve`: the server, from inside a trusted execution environment.

Importing this module loads nothing that starts a thread: the process is hardened first, and only
then anything heavy is imported (inference/server/hardening.py says why).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealserve.cli.files import read
from sealserve.cli.output import say
from sealserve.native.errors import ConfigError

if TYPE_CHECKING:
    from sealserve.inference.server.config import Callers
    from sealserve.inference.server.config_file import Settings

EPILOG = (
    "Example: sealserve serve model.sealed --root 9f2c… --vault trustd:vault.example:8443 "
    "--vault-ca-sha256 51d0…"
)


@click.command("serve", epilog=EPILOG)
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option(
    "--root",
    "roots",
    metavar="HEX[,HEX]…",
    multiple=True,
    required=True,
    help="The identity each FILE must have, in the same order; of several that are allowed for one "
    "FILE it may have any, now and at a reload.",
)
@click.option(
    "--vault",
    default="",
    metavar="HOST",
    help="Key vault that releases the keys: trustd:HOST:PORT, or the host of an Azure vault.",
)
@click.option(
    "--attestation-service",
    default="",
    metavar="URL",
    help="Attestation service whose tokens that vault accepts; trustd: brings its own.",
)
@click.option(
    "--vault-ca-sha256",
    default="",
    metavar="HEX",
    help="SHA-256 of the certificate authority of a trustd: vault.",
)
@click.option(
    "--vault-ca",
    default="",
    metavar="FILE",
    help="That authority's certificate, if the handshake is not to bring it.",
)
@click.option(
    "--vault-credential",
    default="",
    metavar="FILE",
    help="Bearer token, for keys that have a release role.",
)
@click.option(
    "--identity",
    default="",
    metavar="FILE",
    help="HPKE private key instead of a vault. No attestation guards it: simulated platform only.",
)
@click.option(
    "--listen",
    default="0.0.0.0:8001",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to serve gRPC.",
)
@click.option(
    "--require-root",
    is_flag=True,
    help="Refuse calls that do not name the root their caller verified.",
)
@click.option(
    "--config",
    "config_file",
    default="",
    metavar="FILE",
    help="TOML file with limits and options of models other than the defaults.",
)
@click.option(
    "--config-sha256",
    default="",
    metavar="HEX",
    help="SHA-256 that file must have; it makes the file part of what is measured.",
)
@click.option(
    "--callers",
    "callers_file",
    default="",
    metavar="FILE",
    help="Who may call: TOML file with digests of tokens, or a clients' authority (PEM).  "
    "[default: anyone]",
)
@click.option(
    "--callers-sha256",
    default="",
    metavar="HEX",
    help="SHA-256 that file must have.",
)
def command(
    files: tuple[str, ...],
    roots: tuple[str, ...],
    vault: str,
    attestation_service: str,
    vault_ca_sha256: str,
    vault_ca: str,
    vault_credential: str,
    identity: str,
    listen: str,
    require_root: bool,
    config_file: str,
    config_sha256: str,
    callers_file: str,
    callers_sha256: str,
) -> None:
    """Serve sealed models over gRPC (Open Inference Protocol v2).

    The command line is the configuration that the execution policy measures; the environment and
    the sealed files decide nothing (a workload identity there says as whom Azure is asked). Prints
    one line when every model is verified and loaded; nothing listens before. SIGTERM ends it once
    the calls under way have finished.
    """
    from sealserve.inference.server.config import file_bytes
    from sealserve.inference.server.guard import guard
    from sealserve.inference.server.hardening import harden

    given = dict(os.environ)
    guard(os.environ)
    hardened = harden(sum(file_bytes(file, "FILE") for file in files))
    # From here on threads may start.
    from sealserve.attestation import devices
    from sealserve.inference.server import app
    from sealserve.inference.server.config import KeySource, ServerConfig, pair
    from sealserve.inference.wire.address import parse_address
    from sealserve.inference.wire.names import DEFAULT_PORT
    from sealserve.keys.azure_identity import MachineIdentity

    _require_files(
        {
            "--identity": identity,
            "--vault-ca": vault_ca,
            "--vault-credential": vault_credential,
            "--config": config_file,
            "--callers": callers_file,
        }
    )
    host, port = parse_address(listen, default_port=DEFAULT_PORT)
    settings = _settings(config_file, config_sha256)
    config = ServerConfig(
        models=pair(files, roots),
        keys=KeySource(
            identity=identity,
            vault=vault,
            attestation_service=attestation_service,
            vault_ca=vault_ca,
            vault_ca_sha256=vault_ca_sha256,
            vault_credential=vault_credential,
        ),
        listen_host=host,
        listen_port=port,
        require_root=require_root,
        limits=settings.limits,
        options=settings.options,
        callers=_callers(callers_file, callers_sha256),
    )
    source = devices.detect(os.environ, _collateral_missing)
    if identity:
        say("warning: the key comes from a file and no attestation guards it: simulated use only")
    if not callers_file:
        say("warning: anyone who can connect may call; --callers FILE says who")
    machine = MachineIdentity.of(given)
    app.run(config, hardened, source, lambda ready: click.echo(ready.line()), machine)


def _collateral_missing(why: str) -> None:
    """A certificate or a list could not be fetched; evidence goes out with what is at hand."""
    from sealserve.inference.server.events import Event, log

    log(Event.COLLATERAL_MISSING, why=why)


def _settings(file: str, sha256: str) -> Settings:
    from sealserve.inference.server.config_file import MAX_FILE_BYTES, Settings, settings_of

    if file:
        return settings_of(read(Path(file), MAX_FILE_BYTES), sha256, file=file)
    _nothing_without(file="--config", option="--config-sha256", value=sha256)
    return Settings()


def _callers(file: str, sha256: str) -> Callers:
    from sealserve.inference.server.callers import MAX_FILE_BYTES, callers_of
    from sealserve.inference.server.config import Callers

    if file:
        return callers_of(read(Path(file), MAX_FILE_BYTES), sha256, file=file)
    _nothing_without(file="--callers", option="--callers-sha256", value=sha256)
    return Callers()


def _nothing_without(*, file: str, option: str, value: str) -> None:
    if value:
        raise ConfigError(
            f"means nothing without {file}", key=option, hint="leave it out, or give the file too"
        )


def _require_files(named: Mapping[str, str]) -> None:
    """ConfigError, before anything else is done, for an option that names no file."""
    from sealserve.inference.server.config import file_bytes

    for option, file in named.items():
        if file:
            file_bytes(file, option)
