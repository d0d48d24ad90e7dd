"""`sealserve trustd`: the self-hosted trust service."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from sealserve.cli.output import emit, json_option, say
from sealserve.cli.passphrase import chosen_passphrase, folder_of, new_passphrase
from sealserve.keys.connection import PLATFORMS, SIMULATED
from sealserve.native.errors import printable

folder_argument = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What opens the master key; without it a terminal is asked, where one is needed.",
)


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
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Put the master key behind this passphrase: its first line.",
)
@click.option("--passphrase", "ask", is_flag=True, help="The same, but ask for it.")
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
    passphrase_file: Path | None,
    ask: bool,
    as_json: bool,
) -> None:
    """Make a trust service in FOLDER: its keys, its database, and the owner's way in.

    FOLDER/connection.toml holds the owner's token, of which there is no other copy: move it to
    the owner's machine. FOLDER/master.key opens the database, or FOLDER/master.sealed and a
    passphrase, which is never an argument and never in the environment.
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
        chosen_passphrase(passphrase_file, ask=ask),
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
@passphrase_option
@click.option(
    "--requests-per-second",
    type=click.FloatRange(min=1),
    default=400.0,
    show_default=True,
    help="Of everybody together; more are answered 429.",
)
@click.option(
    "--requests-per-peer",
    type=click.FloatRange(min=1),
    default=100.0,
    show_default=True,
    help="Of one address, a second.",
)
def run(
    folder: Path,
    passphrase_file: Path | None,
    requests_per_second: float,
    requests_per_peer: float,
) -> None:
    """Run the trust service of FOLDER until SIGTERM; prints one line when it answers."""
    from sealserve.keys.trustd import server
    from sealserve.keys.trustd.throttle import Rates

    rates = Rates(of_one_peer=requests_per_peer, of_all=requests_per_second)
    opened = folder_of(folder, passphrase_file)
    server.run(opened, rates, lambda ready: click.echo(ready.line()))


@command.command("rotate-token-key", epilog="Example: sealserve trustd rotate-token-key vault")
@folder_argument
@json_option
@passphrase_option
def rotate_token_key(folder: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Let FOLDER's service sign tokens with a new key, also while it runs.

    The key before it is believed until its last token has expired, after eight hours.
    """
    from sealserve.keys.trustd.offline import rotate_token_key

    kid = rotate_token_key(folder_of(folder, passphrase_file), datetime.now(UTC))
    emit({"kid": kid}, f"token key     {kid}", as_json=as_json)


@command.command("passphrase", epilog="Example: sealserve trustd passphrase vault")
@folder_argument
@passphrase_option
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What shall open the master key from now on: its first line; without it, ask.",
)
@json_option
def change_passphrase(
    folder: Path, passphrase_file: Path | None, new_passphrase_file: Path | None, as_json: bool
) -> None:
    """Put FOLDER's master key behind another passphrase, or behind a first one.

    The key stays the same: copies of the folder still open with what opened them. A service that
    runs goes on; its next start needs the new passphrase.
    """
    from sealserve.keys.trustd.offline import put_behind

    opened = folder_of(folder, passphrase_file)
    put_behind(opened, new_passphrase(new_passphrase_file, "--new-passphrase-file"))
    sealed = str(opened.master_sealed)
    emit({"file": sealed}, f"master key    {sealed}", as_json=as_json)
    say("what opened it until now still opens every copy of the folder")


@command.group("token")
def token() -> None:
    """Who may make, read or release keys: bearer tokens with names and roles."""


@token.command(
    "add", epilog="Example: sealserve trustd token add vault clinic-7 --role release:clinic -o c7"
)
@folder_argument
@click.argument("name")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    metavar="ROLE",
    help="owner, create, read or release:NAME; repeatable.",
)
@click.option(
    "-o",
    "out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where the token goes, mode 0600; there is no other copy.",
)
@json_option
@passphrase_option
def add(
    folder: Path,
    name: str,
    roles: tuple[str, ...],
    out: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make a bearer token NAME for FOLDER's service, which takes it from now on."""
    from sealserve.keys.trustd.offline import add_bearer

    add_bearer(folder_of(folder, passphrase_file), name, roles, datetime.now(UTC), out)
    wanted = sorted(set(roles))
    told = {"file": str(out), "name": name, "roles": wanted}
    text = f"token         {name}: {', '.join(wanted)}\nfile          {out}"
    emit(told, text, as_json=as_json)


@token.command("list", epilog="Example: sealserve trustd token list vault")
@folder_argument
@json_option
@passphrase_option
def list_tokens(folder: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """List the bearer tokens of FOLDER's service, without what they hold."""
    from sealserve.keys.trustd.offline import bearers

    found = bearers(folder_of(folder, passphrase_file))
    emit(
        {"tokens": [{"made": str(b.made), "name": b.name, "roles": b.roles} for b in found]},
        "\n".join(f"{b.name}  {', '.join(b.roles)}  {b.made:%Y-%m-%d}" for b in found),
        as_json=as_json,
    )


@token.command("remove", epilog="Example: sealserve trustd token remove vault clinic-7")
@folder_argument
@click.argument("name")
@json_option
@passphrase_option
def remove(folder: Path, name: str, passphrase_file: Path | None, as_json: bool) -> None:
    """End the bearer token NAME of FOLDER's service, from its next request on."""
    from sealserve.keys.trustd.offline import remove_bearer

    remove_bearer(folder_of(folder, passphrase_file), name)
    emit({"removed": name}, f"removed       {name}", as_json=as_json)


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
@passphrase_option
def verify(
    folder: Path,
    head: str,
    key: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Check the audit log of FOLDER: whole, signed, every release on evidence for its policy.

    Prints the newest head: keep it somewhere else, and give it back with --head next time.
    """
    from sealserve.keys.trustd.audit_reader import verify

    checked = verify(folder_of(folder, passphrase_file), key, head=head)
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
@passphrase_option
def show(
    folder: Path,
    after: int,
    key: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Print the audit log of FOLDER, each row after it was verified."""
    from sealserve.keys.trustd.audit_reader import explained, exported, shown

    for row in shown(folder_of(folder, passphrase_file), key):
        if row.number > after:
            click.echo(exported(row) if as_json else printable(explained(row)))
