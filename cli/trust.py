"""`sealserve trust`: write, explain and compare what a client expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import click

from sealserve.attestation.report import Firmware
from sealserve.attestation.tcb import LINES, Line
from sealserve.cli import differences, trust_new
from sealserve.cli.differences import DIFFERENT
from sealserve.cli.output import emit, emit_remarks, json_option
from sealserve.policy import Trust, floors
from sealserve.policy.trust_diff import beyond
from sealserve.policy.trust_lint import lint

trust_argument = click.argument(
    "trust_file", metavar="TRUST", type=click.Path(path_type=Path, dir_okay=False)
)


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
    """Print the least firmware that is recommended.

    As tables of a trust file, with a date. They were not compared with AMD's bulletins: whoever
    owns a trust file reviews them.
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
@trust_argument
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
        "simulated_root_sha256": _plain(trust.simulated_root_sha256),
        "hardware": _plain(trust.hardware),
        "launch": _plain(trust.launch),
        "guest": _plain(trust.guest),
    }
    emit(result, trust.explain(), as_json=as_json)


def _plain(value: object) -> object:
    """An expectation as JSON has it: bytes in hexadecimal, firmware as people say it."""
    match value:
        case bytes():
            return value.hex()
        case Firmware():
            return str(value)
        case tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {name: _plain(each) for name, each in value.items()}
        case _ if is_dataclass(value):
            return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value


@command.command("diff", epilog="Example: sealserve trust diff approved.toml trust.toml")
@click.argument("one", metavar="A", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("other", metavar="B", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def diff(one: Path, other: Path, as_json: bool) -> int:
    """Say what A accepts and B does not, and the other way round.

    Names, notes and the order of lists make no difference. Exit status 1 means that they differ.
    """
    trusts = Trust.load(one), Trust.load(other)
    only_one, only_other = beyond(*trusts), beyond(*reversed(trusts))
    lines = differences.lines(one, other, only_one, only_other)
    told = "\n".join(lines) or f"{one} and {other} accept the same"
    emit(differences.document(only_one, only_other), told, as_json=as_json)
    return DIFFERENT if lines else 0


@command.command("lint", epilog="Example: sealserve trust lint trust.toml")
@trust_argument
@json_option
def lint_(trust_file: Path, as_json: bool) -> int:
    """Say what to think about again in a trust file, the worst first.

    A danger accepts what should not be accepted, a doubt what has a known weakness; a note works
    and could be tidier. Exit status 1 means that there is a danger or a doubt.
    """
    return emit_remarks(lint(Trust.load(trust_file), trust_new.today()), as_json=as_json)
