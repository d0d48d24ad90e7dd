"""`sealserve policy`: write, hash and explain execution policies."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import click

from sealserve.cli import files, policy_generate
from sealserve.cli.output import emit, json_option
from sealserve.policy.execution import ExecutionPolicy, words
from sealserve.policy.execution.text import MAX_POLICY_BYTES

policy_argument = click.argument(
    "policy_file", metavar="POLICY", type=click.Path(path_type=Path, dir_okay=False)
)


@click.group("policy")
def command() -> None:
    """Write, hash and explain execution policies: what may run."""


command.add_command(policy_generate.command)


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
    return "\n".join(_on_one_line(line) for line in lines)


def _on_one_line(text: str) -> str:
    """A policy is somebody else's: no word of it may break a line or move a cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
