"""Policies that a person names: the file, the option for a group, and what is read."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli import files
from sealserve.policy.execution import policy_file
from sealserve.policy.execution.framework import Policy
from sealserve.policy.execution.policy_file import MAX_FILE_BYTES, PolicyFile

policy_argument = click.argument(
    "policy_path", metavar="POLICY", type=click.Path(path_type=Path, dir_okay=False)
)
group_option = click.option(
    "--group", default="", metavar="NAME", help="Which group, where a template has several."
)


def read(path: Path, group: str) -> tuple[PolicyFile, Policy]:
    """The policy of a file in any form, and what it says. Raises ConfigError as both readers."""
    found = find(path, group)
    return found, Policy.parse(found.text, file=found.where)


def find(path: Path, group: str) -> PolicyFile:
    """The policy of a file in any form, its text not read yet. Raises ConfigError as `read_one`."""
    return policy_file.read_one(files.read(path, MAX_FILE_BYTES), file=str(path), group=group)
