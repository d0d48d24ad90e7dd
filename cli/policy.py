"""`sealserve policy`: everything about execution policies."""

from __future__ import annotations

import click

from sealserve.cli import (
    policy_diff,
    policy_explain,
    policy_generate,
    policy_hash,
    policy_lint,
    policy_simulate,
)


@click.group("policy")
def command() -> None:
    """Write, explain, compare and try execution policies: what may run."""


for verb in (
    *(policy_generate, policy_hash, policy_explain, policy_diff, policy_lint, policy_simulate),
):
    command.add_command(verb.command)
