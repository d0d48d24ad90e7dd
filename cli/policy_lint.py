"""`sealserve policy lint`: what a policy leaves open to the host of the machine."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli import policy_input
from sealserve.cli.output import emit_remarks, json_option
from sealserve.cli.policy_input import group_option, policy_argument
from sealserve.policy.execution.lint import lint


@click.command("lint", epilog="Example: sealserve policy lint policy.rego")
@policy_argument
@group_option
@json_option
def command(policy_path: Path, group: str, as_json: bool) -> int:
    """Say what a policy leaves open, the worst first.

    Critical is what gives the host what the policy should keep from it. Exit status 1 means that
    there is more than notes.
    """
    _, policy = policy_input.read(policy_path, group)
    return emit_remarks(lint(policy), as_json=as_json)
