"""`sealserve policy`: write, hash and explain execution policies."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import click

from sealserve.cli import files
from sealserve.cli.output import emit, json_option, say
from sealserve.native.errors import printable
from sealserve.policy.execution import ExecutionPolicy, generate_process, words
from sealserve.policy.execution.text import MAX_POLICY_BYTES

policy_argument = click.argument(
    "policy_file", metavar="POLICY", type=click.Path(path_type=Path, dir_okay=False)
)


@click.group("policy")
def command() -> None:
    """Write, hash and explain execution policies: what may run."""


@command.command(
    "generate",
    epilog="Example: sealserve policy generate --process -o policy.rego -- "
    "/usr/bin/sealserve serve /srv/net.sealed …",
)
@click.option("--process", is_flag=True, help="A policy for one process; the only kind yet.")
@click.option(
    "--env-rule",
    "env_rules",
    metavar="RULE",
    multiple=True,
    help="A variable that may be set: NAME=VALUE, or re2:PATTERN over that text; repeatable.",
)
@click.option("--workdir", default="/", show_default=True, help="Where the command must start.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, instead of printing the policy.",
)
@json_option
@click.argument("command_line", metavar="-- CMD…", nargs=-1, required=True, type=click.UNPROCESSED)
def generate(
    process: bool,
    env_rules: tuple[str, ...],
    workdir: str,
    out: Path | None,
    as_json: bool,
    command_line: tuple[str, ...],
) -> None:
    """Write the policy under which exactly CMD may run, word for word.

    The SHA-256 of its bytes is what the hardware will hold as HOST_DATA: a changed comma is
    another policy.
    """
    if not process:
        raise click.UsageError("only policies for one process can be written yet: give --process")
    _warn_of_search(command_line[0], env_rules, workdir)
    text = generate_process(command_line, env_rules=env_rules, working_dir=workdir)
    sha256 = hashlib.sha256(text).hexdigest()
    if out is None and not as_json:
        click.echo(text, nl=False)
        say(f"sha256 {sha256}")
        return
    result: dict[str, object] = {"command": list(command_line), "sha256": sha256}
    if out is None:
        result["policy"] = text.decode()
    else:
        files.write(out, text)
        result["file"] = str(out)
    emit(result, f"wrote {out}\nsha256 {sha256}", as_json=as_json)


def _warn_of_search(program: str, env_rules: tuple[str, ...], workdir: str) -> None:
    """A shell finds what was typed; the machine has its own place and no PATH of its own."""
    if program.startswith("/"):
        return
    if "/" in program:
        say(f"warning: {program!r} will be started from {workdir} (--workdir)")
    elif not any(rule.startswith(("PATH=", "re2:")) for rule in env_rules):
        say(f"warning: {program!r} is not the whole path, and no --env-rule lets a PATH through")


@command.command("hash", epilog="Example: sealserve policy hash policy.rego")
@policy_argument
@json_option
def hash_(policy_file: Path, as_json: bool) -> None:
    """Print the SHA-256 that HOST_DATA holds where this policy is enforced."""
    sha256 = hashlib.sha256(files.read(policy_file, MAX_POLICY_BYTES)).hexdigest()
    emit({"file": str(policy_file), "sha256": sha256}, sha256, as_json=as_json)


@command.command("explain", epilog="Example: sealserve policy explain policy.rego")
@policy_argument
@json_option
def explain(policy_file: Path, as_json: bool) -> None:
    """Say in plain words what a policy for one process lets run."""
    data = files.read(policy_file, MAX_POLICY_BYTES)
    policy = ExecutionPolicy.parse(data, file=str(policy_file))
    result = {
        "sha256": policy.sha256.hex(),
        "command": list(policy.command),
        "working_dir": policy.working_dir,
        "env_rules": [rule.fields() for rule in policy.env_rules],
        "risks": words.risks(policy),
    }
    emit(result, _plainly(policy), as_json=as_json)


def _plainly(policy: ExecutionPolicy) -> str:
    lines = [
        f"policy {policy.sha256.hex()}",
        f"  runs    {shlex.join(policy.command)}",
        f"  in      {policy.working_dir}",
        *(f"  with    {words.rule(entry)}" for entry in policy.env_rules),
        "  and no other command, with no other variable" + ("" if policy.env_rules else " at all"),
        *(f"  RISK    {risk}" for risk in words.risks(policy)),
    ]
    return "\n".join(printable(line) for line in lines)
