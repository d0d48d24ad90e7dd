"""`sealserve trust new`: a trust file out of what people know, or of what a machine claims."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from sealserve.attestation.roots import ARK_SHA256, Roots
from sealserve.attestation.tcb import LINES, Line
from sealserve.cli import files, host_data
from sealserve.cli.asking import timeout_option
from sealserve.cli.client_certificate import certificate_options, read_certificate
from sealserve.cli.output import emit, json_option, say
from sealserve.native.errors import ConfigError
from sealserve.policy import Trust, claimed, floors
from sealserve.policy.claimed import Draft
from sealserve.policy.expectations import Kind, MeasuredLaunch, Noted, UvmLaunch
from sealserve.policy.trust_schema import KINDS
from sealserve.policy.trust_text import trust_text

if TYPE_CHECKING:
    from sealserve.inference.client import Certificate


@click.command(
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
    help="Execution policy that may run: its file, its SHA-256, or `none`; repeatable.",
)
@click.option(
    "--model",
    "models",
    metavar="NAME=ROOT",
    multiple=True,
    help="Model that is accepted, and its root; repeatable. With --from, what to call a root.",
)
@click.option(
    "--expires",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Last day on which the file counts.",
)
@click.option(
    "--from",
    "source",
    metavar="HOST[:PORT]",
    help="Write what the machine there claims instead, for a person to approve.",
)
@certificate_options
@timeout_option
@json_option
def command(
    out: Path,
    name: str,
    kind: Kind,
    simulated_root_sha256: str,
    lines: tuple[Line, ...],
    measurements: tuple[str, ...],
    uvm_issuer: str,
    uvm_feed: str,
    uvm_minimum_svn: int | None,
    policies: tuple[str, ...],
    models: tuple[str, ...],
    expires: datetime.datetime | None,
    source: str | None,
    certificate_file: Path | None,
    key_file: Path | None,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Write a trust file. Every expectation has to be given: nothing is trusted by default.

    With --from they are what a machine claims of itself, once its evidence is found genuine. That
    file does not load until a person has compared the claims and deleted the line that says so.

    Never overwrites a file: what somebody approved is not replaced by the way.
    """
    _require_root_if_simulated(kind, simulated_root_sha256)
    if expires is not None and expires.date() < today():
        say(f"warning: --expires {expires.date()} is past: this file will refuse every server")
    _require_utf8("--name", name)
    _require_utf8("--uvm-issuer", uvm_issuer)
    _require_utf8("--uvm-feed", uvm_feed)
    if out.exists() or out.is_symlink():
        raise ConfigError("exists already", file=str(out), hint="choose another -o, or remove it")
    given: _Given = {
        "name": name,
        "kind": kind,
        "simulated_root_sha256": simulated_root_sha256.lower(),
        "expires": expires.date() if expires else None,
    }
    if source is not None:
        _refuse_beside_from(click.get_current_context().params)
        certificate = read_certificate(certificate_file, key_file)
        draft = _claimed(source, timeout_seconds, certificate, _models(models), given, str(out))
        files.write(out, draft.text.encode())
        _tell_claimed(out, draft, as_json)
        return
    if certificate_file or key_file:
        raise click.UsageError("--certificate and --key are for --from: nobody else is asked")
    if not policies:
        raise _missing("--policy", "What may run; `none` if anything may.")
    if not models:
        raise _missing("--model", "At least one.")
    text = trust_text(
        **given,
        lines=_lines(kind, lines),
        launch=_launch(measurements, uvm_issuer, uvm_feed, uvm_minimum_svn),
        policies=_policies(policies),
        models=_models(models),
    )
    trust = Trust.parse(text.encode(), file=str(out))
    files.write(out, text.encode())
    warn_of_old_floors()
    result = {"file": str(out), "name": trust.name, "platform": trust.kind}
    emit(result, f"wrote {out}\n\n{trust.explain()}", as_json=as_json)


class _Given(TypedDict):
    """What a person says in either case."""

    name: str
    kind: Kind
    simulated_root_sha256: str
    expires: datetime.date | None


_CLAIMED = {
    "lines": "--line",
    "measurements": "--measurement",
    "uvm_issuer": "--uvm-issuer",
    "uvm_feed": "--uvm-feed",
    "uvm_minimum_svn": "--uvm-minimum-svn",
    "policies": "--policy",
}


def _refuse_beside_from(given: Mapping[str, object]) -> None:
    for parameter, option in _CLAIMED.items():
        if given[parameter] not in ((), "", None):
            raise click.UsageError(f"give {option} or --from, and not both")


def _claimed(
    source: str,
    timeout_seconds: float,
    certificate: Certificate | None,
    named: Mapping[str, Sequence[str]],
    given: _Given,
    file: str,
) -> Draft:
    """Ask the machine there, whose makers we know, and whose word counts for nothing yet."""
    from sealserve.inference.client.introduction import introduce  # gRPC, for this alone

    root = bytes.fromhex(given["simulated_root_sha256"])
    introduced = introduce(
        source,
        Roots.simulated(root) if root else Roots.amd(),
        timeout_seconds=timeout_seconds,
        certificate=certificate,
    )
    return claimed.draft(
        introduced.claims,
        source=source,
        now=datetime.datetime.now(datetime.UTC),
        models=_served(named, {root.hex() for root in introduced.roots}),
        file=file,
        **given,
    )


def _served(named: Mapping[str, Sequence[str]], served: Set[str]) -> dict[str, list[str]]:
    """The roots that are served, by their names; evidence has roots alone."""
    known = {root for roots in named.values() for root in roots}
    for root in sorted(known - served):
        raise ConfigError(
            f"the server does not serve the root {root}",
            key="--model",
            hint=f"it serves {', '.join(sorted(served)) or 'no model'}",
        )
    unnamed = sorted(served - known)
    return {name: list(roots) for name, roots in named.items()} | {
        f"unnamed-{number}": [root] for number, root in enumerate(unnamed, 1)
    }


def _tell_claimed(out: Path, draft: Draft, as_json: bool) -> None:
    warn_of_old_floors()
    if draft.refusals:
        say("warning: once approved, the file refuses the machine it came from:")
        for finding in draft.refusals:
            say(f"  - {finding}")
    if any(name.startswith("unnamed-") for name in draft.approved.models):
        say("hint: give each model the name under which its owner sealed it")
    result = {
        "file": str(out),
        "name": draft.approved.name,
        "platform": draft.approved.kind,
        "claimed_not_approved": True,
        "refusals": [finding.code for finding in draft.refusals],
    }
    text = f"wrote {out}, which does not load: compare every value with what its owner\n"
    text += f"publishes, then delete the line claimed_not_approved\n\n{draft.approved.explain()}"
    emit(result, text, as_json=as_json)


def warn_of_old_floors() -> None:
    """Tell whoever is about to rely on them."""
    if floors.is_old(today()):
        say(f"warning: the recommended firmware is of {floors.DATE}, more than a year ago")


def today() -> datetime.date:
    """In UTC, as trust files count days."""
    return datetime.datetime.now(datetime.UTC).date()


def _lines(kind: Kind, lines: tuple[Line, ...]) -> tuple[Line, ...]:
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
        return Noted(host_data.of_file(path), path.name)
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
        root = _hex(simulated_root_sha256, 32, "--simulated-root-sha256")
        if root.hex() in ARK_SHA256.values():
            raise ConfigError(
                "this is a root of AMD's, not a simulated one", key="--simulated-root-sha256"
            )
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
