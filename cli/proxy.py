"""`sealserve proxy`: the client for every other language."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli.asking import TARGET, timeout_option, trust_option
from sealserve.cli.caller_token import read_token, token_option
from sealserve.cli.check import connections_option
from sealserve.cli.client_certificate import certificate_options, read_certificate
from sealserve.cli.output import say
from sealserve.inference.client.terms import Terms
from sealserve.inference.proxy.place import parse_place
from sealserve.policy import Trust
from sealserve.policy.verdict import SIMULATED_BANNER


@click.command(
    "proxy",
    epilog="Example: sealserve proxy one:8001,two:8001 --trust trust.toml --listen 127.0.0.1:9001",
)
@click.argument("target", metavar=TARGET)
@trust_option
@click.option(
    "--listen",
    default="127.0.0.1:8001",
    show_default=True,
    metavar="ADDRESS",
    help="Address of the loopback, or unix:PATH for a socket of this user alone.",
)
@click.option(
    "--listen-anywhere",
    is_flag=True,
    help="DANGER: take an address for --listen that others can reach. They send in plain text, and "
    "may use the token and the certificate.",
)
@connections_option
@click.option(
    "--message-mib",
    type=click.IntRange(1, 2047),
    default=16,
    show_default=True,
    metavar="MIB",
    help="Longest request that is taken; servers have a limit of their own.",
)
@token_option
@certificate_options
@timeout_option
def command(
    target: str,
    trust_file: Path,
    listen: str,
    listen_anywhere: bool,
    connections: int,
    message_mib: int,
    token_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    timeout_seconds: float,
) -> None:
    """Take plain gRPC from programs of this machine, and pass it on to HOST, verified.

    Any client of the Open Inference Protocol, in any language, talks to the proxy as to a server.
    Nothing leaves before a server met every expectation of the trust file, and each replica is
    verified. Prints one line when it answers. SIGTERM ends it once the calls under way have ended.
    """
    from sealserve.inference.proxy import app  # its packages are an extra's

    place = parse_place(listen, anywhere=listen_anywhere)
    trust = Trust.load(trust_file)
    certificate = read_certificate(certificate_file, key_file)
    terms = Terms(trust, connections, read_token(token_file), certificate)
    if place.anywhere:
        say(f"DANGER: whoever reaches {place.text()} is read by everybody on the way")

    def announce(ready: app.Ready) -> None:
        if ready.platform == "simulated":
            say(SIMULATED_BANNER)
        click.echo(ready.line())

    limits = app.Limits(message_bytes=message_mib * 2**20)
    app.run(target, terms, place, announce, timeout_seconds=timeout_seconds, limits=limits)
