"""`sealserve serve`: the server, from inside a trusted execution environment.

Importing this module loads nothing that starts a thread: the process is hardened first, and only
then anything heavy is imported (inference/server/hardening.py says why).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealserve.cli.files import read
from sealserve.cli.output import say
from sealserve.native.errors import ConfigError

if TYPE_CHECKING:
    from sealserve.attestation.evidence import EvidenceSource
    from sealserve.inference.server.config import Callers, Settings

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
    "--workers",
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that answer; they share the weights, and each has the limits to itself.",
)
@click.option(
    "--status-listen",
    default="",
    metavar="HOST:PORT",
    help="Where /livez, /readyz and /metrics are; a port alone is one of the loopback.",
)
@click.option(
    "--model-control",
    default="",
    metavar="PATH",
    help="Unix socket on which models of this command line are listed, loaded and unloaded.",
)
@click.option(
    "--early",
    is_flag=True,
    help="Answer before weights are prepacked, slower at first; last bits change once they are.",
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
    workers: int,
    early: bool,
    status_listen: str,
    model_control: str,
    config_file: str,
    config_sha256: str,
    callers_file: str,
    callers_sha256: str,
) -> None:
    """Serve sealed models over gRPC (Open Inference Protocol v2).

    The command line is the configuration that the execution policy measures; the environment and
    the sealed files decide nothing (a workload identity there says as whom Azure is asked). Prints
    one line when every model is verified and loaded; nothing listens before. SIGTERM ends it once
    the calls under way have finished. SIGHUP opens the files as they are then, and serves them once
    all of them are verified; if one is not, nothing changes.
    """
    sys.dont_write_bytecode = True  # a server writes nothing but its log
    gc.disable()  # what is loaded from now on stays; whoever serves enables it again
    from sealserve.inference.server.config import file_bytes
    from sealserve.inference.server.guard import guard
    from sealserve.inference.server.hardening import harden

    given = dict(os.environ)
    guard(os.environ)
    for file in files:
        file_bytes(file, "FILE")
    namespace = harden()
    # NumPy's algebra, which nothing here uses, would start threads when it is loaded. Without them
    # this process has one, and may fork.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from sealserve.inference.server.silence import install

    install()
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
    status_host, status_port = _status_address(status_listen)
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
        workers=workers,
        early=early,
        status_host=status_host,
        status_port=status_port,
        model_control=model_control,
        limits=settings.limits,
        options=settings.options,
        callers=_callers(callers_file, callers_sha256),
    )
    if identity:
        say("warning: the key comes from a file and no attestation guards it: simulated use only")
    if not callers_file:
        say("warning: anyone who can connect may call; --callers FILE says who")
    machine = MachineIdentity.of(given)
    app.run(config, namespace, _find_source, lambda ready: click.echo(ready.line()), machine)


def _status_address(text: str) -> tuple[str, int]:
    """IP address and port of the operator's pages; "" and 0 for none."""
    from sealserve.inference.server.status_address import is_loopback, parse_status_address

    if not text:
        return "", 0
    host, port = parse_status_address(text)
    if not is_loopback(host):
        say(f"warning: the status pages are for everybody who reaches {host}")
    return host, port


def _find_source() -> EvidenceSource:
    """The way to evidence, in each process that has a use for it."""
    from sealserve.attestation import devices

    return devices.detect(os.environ, _collateral_missing)


def _collateral_missing(why: str) -> None:
    """A certificate or a list could not be fetched; evidence goes out with what is at hand."""
    from sealserve.inference.server.events import Event, log

    log(Event.COLLATERAL_MISSING, why=why)


def _settings(file: str, sha256: str) -> Settings:
    from sealserve.inference.server.config import Settings

    if file:
        from sealserve.inference.server.config_file import MAX_FILE_BYTES, settings_of

        return settings_of(read(Path(file), MAX_FILE_BYTES), sha256, file=file)
    _nothing_without(file="--config", option="--config-sha256", value=sha256)
    return Settings()


def _callers(file: str, sha256: str) -> Callers:
    from sealserve.inference.server.config import Callers

    if file:
        from sealserve.inference.server.callers import MAX_FILE_BYTES, callers_of

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
