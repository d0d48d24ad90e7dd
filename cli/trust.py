"""`sealserve trust`: write, explain and compare what a client expects."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.attestation.tcb import LINES, Line
from sealserve.cli import trust_new
from sealserve.cli.output import emit, json_option
from sealserve.policy import Trust, floors


@click.group("trust")
def command() -> None:
    """Write, explain and compare what a client expects of a server."""


command.add_command(trust_new.command)


@command.command("floors", epilog="Example: sealserve trust floors --line milan --line genoa")
@click.option(
    "--line",
    "lines",
    multiple=True,
    type=click.Choice(LINES),
    help="Processor line; repeatable.  [default: every line]",
)
@json_option
def print_floors(lines: tuple[Line, ...], as_json: bool) -> None:
    """Print the firmware we recommend as the least acceptable, as tables of a trust file.

    It has a date and was not compared with AMD's bulletins: whoever owns a trust file reviews it.
    """
    chosen = tuple(dict.fromkeys(lines)) or LINES
    trust_new.warn_of_old_floors()
    result = {
        "date": floors.DATE.isoformat(),
        "compared_with_amd": False,
        "tcb": {
            table: tcb.components()
            for line in chosen
            for table, tcb in floors.RECOMMENDED[line].items()
        },
    }
    emit(result, "\n".join(floors.toml(chosen)), as_json=as_json)


@command.command("explain", epilog="Example: sealserve trust explain trust.toml")
@click.argument("trust_file", metavar="TRUST", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def explain(trust_file: Path, as_json: bool) -> None:
    """Say in plain words what a trust file accepts."""
    trust = Trust.load(trust_file)
    result = {
        "name": trust.name,
        "platform": trust.kind,
        "expires": trust.expires.isoformat() if trust.expires else None,
        "policies": [policy.digest.hex() for policy in trust.policies],
        "models": {name: [root.hex() for root in roots] for name, roots in trust.models.items()},
        "dangers": list(trust.danger.sentences()),
    }
    emit(result, trust.explain(), as_json=as_json)
