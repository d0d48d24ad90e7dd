"""`sealserve trust`: write and explain what a client expects."""

from __future__ import annotations

import datetime
import hashlib
import os
from pathlib import Path

import click

from sealserve.attestation.tcb import LINES, Line
from sealserve.cli import files
from sealserve.cli.output import emit, json_option, say
from sealserve.native.errors import ConfigError
from sealserve.policy import Trust, floors
from sealserve.policy.execution.text import MAX_POLICY_BYTES
from sealserve.policy.expectations import MeasuredLaunch, Noted, UvmLaunch
from sealserve.policy.trust_schema import KINDS
from sealserve.policy.trust_text import trust_text


@click.group("trust")
def command() -> None:
    """Write and explain what a client expects of a server."""


@command.command(
    "new",
    epilog="Example: sealserve trust new -o trust.toml --name clinic --platform simulated "
    "--simulated-root-sha256 51d0… --measurement 77c0… --policy policy.rego --model net=9f2c…",
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="New file."
)
@click.option("--name", required=True, help="Whose expectations these are; in every verdict.")
@click.option("--platform", "kind", required=True, type=click.Choice(KINDS), help="What kind.")
@click.option(
    "--simulated-root-sha256",
    metavar="HEX",
    default="",
    help="The simulated root (`sealserve tee info`); for the simulated platform alone.",
)
@click.option(
    "--line",
    "lines",
    multiple=True,
    type=click.Choice(LINES),
    help="Processor line; repeatable.  [default: milan if simulated]",
)
@click.option(
    "--measurement",
    "measurements",
    metavar="HEX",
    multiple=True,
    help="Launch measurement (SHA-384) that is accepted; repeatable.",
)
@click.option("--uvm-issuer", default="", metavar="DID", help="Or: who endorses measurements.")
@click.option("--uvm-feed", default="", metavar="NAME", help="And in which feed.")
@click.option("--uvm-minimum-svn", type=click.IntRange(min=0), help="And from which version on.")
@click.option(
    "--policy",
    "policies",
    metavar="FILE|HEX",
    multiple=True,
    required=True,
    help="Execution policy that may run: its file, its SHA-256, or `none`; repeatable.",
)
@click.option(
    "--model",
    "models",
    metavar="NAME=ROOT",
    multiple=True,
    required=True,
    help="Model that is accepted, and its root; repeatable.",
)
@click.option(
    "--expires",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Last day on which the file counts.",
)
@json_option
def new(
    out: Path,
    name: str,
    kind: str,
    simulated_root_sha256: str,
    lines: tuple[str, ...],
    measurements: tuple[str, ...],
    uvm_issuer: str,
    uvm_feed: str,
    uvm_minimum_svn: int | None,
    policies: tuple[str, ...],
    models: tuple[str, ...],
    expires: datetime.datetime | None,
    as_json: bool,
) -> None:
    """Write a trust file. Every expectation has to be given: nothing is trusted by default.

    Never overwrites a file: what somebody approved is not replaced by the way.
    """
    _require_root_if_simulated(kind, simulated_root_sha256)
    if expires is not None and expires.date() < _today():
        say(f"warning: --expires {expires.date()} is past: this file will refuse every server")
    _require_utf8("--name", name)
    _require_utf8("--uvm-issuer", uvm_issuer)
    _require_utf8("--uvm-feed", uvm_feed)
    if out.exists() or out.is_symlink():
        raise ConfigError("exists already", file=str(out), hint="choose another -o, or remove it")
    text = trust_text(
        name=name,
        kind=kind,  # type: ignore[arg-type]  # click.Choice
        simulated_root_sha256=simulated_root_sha256.lower(),
        lines=_lines(kind, lines),  # type: ignore[arg-type]  # click.Choice
        launch=_launch(measurements, uvm_issuer, uvm_feed, uvm_minimum_svn),
        policies=_policies(policies),
        models=_models(models),
        expires=expires.date() if expires else None,
    )
    trust = Trust.parse(text.encode(), file=str(out))
    files.write(out, text.encode())
    _warn_of_old_floors()
    result = {"file": str(out), "name": trust.name, "platform": trust.kind}
    emit(result, f"wrote {out}\n\n{trust.explain()}", as_json=as_json)


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
    _warn_of_old_floors()
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


def _warn_of_old_floors() -> None:
    if floors.is_old(_today()):
        say(f"warning: the recommended firmware is of {floors.DATE}, more than a year ago")


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _lines(kind: str, lines: tuple[str, ...]) -> tuple[str, ...]:
    if lines:
        return lines
    if kind == "simulated":
        return ("milan",)  # what the simulated platform is
    raise _missing("--line", f"One or more of {', '.join(LINES)}.")


def _launch(
    measurements: tuple[str, ...], issuer: str, feed: str, svn: int | None
) -> MeasuredLaunch | UvmLaunch:
    endorsed = {"--uvm-issuer": issuer, "--uvm-feed": feed, "--uvm-minimum-svn": svn}
    given = [option for option, value in endorsed.items() if value not in ("", None)]
    if measurements and given:
        raise click.UsageError(f"give --measurement or {given[0]}, and not both")
    if measurements:
        return MeasuredLaunch(tuple(Noted(_hex(m, 48, "--measurement"), "") for m in measurements))
    missing = [option for option in endorsed if option not in given]
    if missing:
        raise _missing(
            missing[0] if given else "--measurement",
            "What may be launched: --measurement, or all three of --uvm-…",
        )
    assert svn is not None
    return UvmLaunch(issuer, feed, svn)


def _policies(given: tuple[str, ...]) -> list[Noted]:
    if given == ("none",):
        return []
    return [_policy(text) for text in given]


def _policy(text: str) -> Noted:
    _require_utf8("--policy", text)
    path = Path(text)
    if os.path.isfile(path):  # noqa: PTH113  Path.is_file raises for a name that is too long
        return Noted(hashlib.sha256(files.read(path, MAX_POLICY_BYTES)).digest(), path.name)
    return Noted(_hex(text, 32, "--policy"), "")


def _models(given: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        _require_utf8("--model", text)
        name, equals, root = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"{text[:80]!r} is not NAME=ROOT", key="--model")
        found.setdefault(name, []).append(_hex(root, 32, "--model").hex())
    return found


def _hex(text: str, size: int, option: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != size or len(text) != 2 * size:
        raise ConfigError(
            f"{text[:100]!r} is neither a file nor {2 * size} hexadecimal digits"
            if option == "--policy"
            else f"{text[:100]!r} is not {2 * size} hexadecimal digits",
            key=option,
        )
    return data


def _require_root_if_simulated(kind: str, simulated_root_sha256: str) -> None:
    if kind == "simulated":
        if not simulated_root_sha256:
            raise _missing("--simulated-root-sha256", "`sealserve tee info` prints it.")
        _hex(simulated_root_sha256, 32, "--simulated-root-sha256")
    elif simulated_root_sha256:
        raise click.UsageError(
            f"--simulated-root-sha256 is not for --platform {kind}: simulated and real never mix"
        )


def _require_utf8(option: str, text: str) -> None:
    """What a shell hands over may be any bytes; a TOML file holds characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{text[:80]!r} is not UTF-8", key=option) from None


def _missing(option: str, hint: str) -> click.MissingParameter:
    return click.MissingParameter(hint, param_hint=f"'{option}'", param_type="option")
