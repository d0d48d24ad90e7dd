"""`sealserve deploy`: the files of a deployment beside each other."""

from __future__ import annotations

import click

from sealserve.cli import deploy_lint


@click.group("deploy")
def command() -> None:
    """Check the files of a deployment against each other."""


command.add_command(deploy_lint.command)
