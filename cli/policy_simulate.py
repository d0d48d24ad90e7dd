"""`sealserve policy simulate`: what a guest would answer, before there is one."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli import files, policy_input
from sealserve.cli.output import emit, json_option, say
from sealserve.cli.policy_input import group_option, policy_argument
from sealserve.native.errors import PolicyViolation, printable
from sealserve.policy.execution import requests, simulation, simulation_words
from sealserve.policy.execution.framework import Policy


@click.command(
    "simulate", epilog="Example: sealserve policy simulate policy.rego requests.json --json"
)
@policy_argument
@click.argument(
    "requests_path", metavar="REQUESTS", type=click.Path(path_type=Path, dir_okay=False)
)
@group_option
@json_option
def command(policy_path: Path, requests_path: Path, group: str, as_json: bool) -> int:
    """Ask a policy a sequence of requests, as a guest does, and say what decided each of them.

    REQUESTS is JSON: {"steps": [{"point": "mount_device", "input": {…}}, …]}. What a policy allows
    changes what the guest remembers, and so what it allows next. Exit status 6 means that something
    was denied.
    """
    found, policy = policy_input.read(policy_path, group)
    data = files.read(requests_path, requests.MAX_REQUESTS_BYTES)
    asked = requests.parse(data, file=str(requests_path))
    _tell_vanished(policy)
    answers = simulation.simulate(policy, asked)
    allowed = all(answer.allowed for answer in answers)
    result = {
        "sha256": found.sha256.hex(),
        "allowed": allowed,
        "steps": simulation.document(answers),
    }
    emit(result, simulation_words.explain(answers) or "nothing was asked", as_json=as_json)
    return 0 if allowed else PolicyViolation.exit_code


def _tell_vanished(policy: Policy) -> None:
    for label, fields in policy.vanished():
        missing = ", ".join(fields)
        say(printable(f"warning: {label} has no {missing}: a guest does not see it at all"))
