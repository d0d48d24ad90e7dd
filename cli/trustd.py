"""`sealserve trustd`: the self-hosted trust service."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from sealserve.cli.output import emit, json_option, printable, say
from sealserve.keys.connection import PLATFORMS, SIMULATED

folder_argument = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group("trustd")
def command() -> None:
    """The self-hosted trust service: attestation service and key vault in one."""


@command.command(
    "init",
    epilog="Example: sealserve trustd init vault --listen 127.0.0.1:8443 "
    "--simulated-root-sha256 51d0…",
)
@folder_argument
@click.option("--listen", required=True, metavar="HOST:PORT", help="Where it will answer.")
@click.option(
    "--address",
    default="",
    metavar="HOST:PORT",
    help="What clients call it, if that is something else.",
)
@click.option(
    "--platform",
    type=click.Choice(PLATFORMS),
    default=SIMULATED,
    show_default=True,
    help="Whose machines it attests; fixed from now on.",
)
@click.option(
    "--simulated-root-sha256",
    default="",
    metavar="HEX",
    help="The one simulated root it believes, as `tee info` prints it.",
)
@click.option("--uvm-issuer", default="", metavar="DID", help="Real: who endorses launches.")
@click.option("--uvm-feed", default="", metavar="NAME", help="Real: and in which feed.")
@click.option("--uvm-minimum-svn", type=int, metavar="N", help="Real: and from which version on.")
@json_option
def init(
    folder: Path,
    listen: str,
    address: str,
    platform: str,
    simulated_root_sha256: str,
    uvm_issuer: str,
    uvm_feed: str,
    uvm_minimum_svn: int | None,
    as_json: bool,
) -> None:
    """Make a trust service in FOLDER: its keys, its database, and the owner's way in.

    FOLDER/connection.toml holds the owner's token, of which there is no other copy: move it to
    the owner's machine. FOLDER/master.key opens the database.
    """
    from sealserve.keys.trustd.setup import Wanted, init

    wanted = Wanted(
        listen,
        address,
        platform,
        simulated_root_sha256,
        uvm_issuer,
        uvm_feed,
        uvm_minimum_svn,
    )
    made = init(folder, wanted, datetime.now(UTC))
    ca_sha256 = made.authority().sha256
    connection = folder / "connection.toml"
    emit(
        {
            "address": made.address,
            "ca_sha256": ca_sha256,
            "connection": str(connection),
            "platform": made.platform,
        },
        f"trust service {made.address} ({made.platform} machines)\n"
        f"ca sha256     {ca_sha256}\n"
        f"connection    {connection}",
        as_json=as_json,
    )
    if platform == SIMULATED:
        say("warning: a service for simulated machines proves nothing about hardware")
    elif not uvm_issuer:
        say("warning: no --uvm-issuer: no launch is endorsed, and no key leaves that asks for it")


@command.command("run", epilog="Example: sealserve trustd run vault")
@folder_argument
def run(folder: Path) -> None:
    """Run the trust service of FOLDER until SIGTERM; prints one line when it answers."""
    from sealserve.keys.trustd import server

    server.run(folder, lambda ready: click.echo(ready.line()))


@command.command("rotate-token-key", epilog="Example: sealserve trustd rotate-token-key vault")
@folder_argument
@json_option
def rotate_token_key(folder: Path, as_json: bool) -> None:
    """Let FOLDER's service sign tokens with a new key, also while it runs.

    The key before it is believed until its last token has expired, after eight hours.
    """
    from sealserve.keys.trustd.offline import rotate_token_key

    kid = rotate_token_key(folder, datetime.now(UTC))
    emit({"kid": kid}, f"token key     {kid}", as_json=as_json)


@command.group("audit")
def audit() -> None:
    """The log of who got which key on what evidence."""


key_option = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The log's public key, kept elsewhere (audit.pem); then no master key is needed.",
)


@audit.command("verify", epilog="Example: sealserve trustd audit verify vault --head 9f2c…")
@folder_argument
@click.option(
    "--head",
    default="",
    metavar="HEX",
    help="A head that was the newest once; without one, a log that was cut is not noticed.",
)
@key_option
@json_option
def verify(folder: Path, head: str, key: Path | None, as_json: bool) -> None:
    """Check the audit log of FOLDER: whole, signed, every release on evidence for its policy.

    Prints the newest head: keep it somewhere else, and give it back with --head next time.
    """
    from sealserve.keys.trustd.audit_reader import verify

    checked = verify(folder, key, head=head)
    emit(
        {"head": checked.head, "releases": checked.releases, "rows": checked.rows},
        f"audit log     {checked.rows} rows, {checked.releases} releases\n"
        f"head          {checked.head}",
        as_json=as_json,
    )
    if not head:
        say("warning: without --head nothing shows whether newer rows were there once")


@audit.command("show", epilog="Example: sealserve trustd audit show vault --after 120")
@folder_argument
@click.option("--after", default=0, metavar="N", help="Leave out the first N rows.")
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row, signed text.")
def show(folder: Path, after: int, key: Path | None, as_json: bool) -> None:
    """Print the audit log of FOLDER, each row after it was verified."""
    from sealserve.keys.trustd.audit_reader import explained, exported, shown

    for row in shown(folder, key):
        if row.number > after:
            click.echo(exported(row) if as_json else printable(explained(row)))
