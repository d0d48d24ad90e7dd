"""`sealserve policy explain`: a policy, or a denial of one, in plain words."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli import files
from sealserve.cli.output import emit, json_option, say
from sealserve.cli.policy_input import group_option, policy_argument
from sealserve.native.errors import printable
from sealserve.policy.execution import denial, denial_words, explain, form, policy_file
from sealserve.policy.execution.framework import Policy
from sealserve.policy.execution.policy_file import MAX_FILE_BYTES


@click.command("explain", epilog="Example: sealserve policy explain policy.rego")
@policy_argument
@group_option
@json_option
def command(policy_path: Path, group: str, as_json: bool) -> None:
    """Say in plain words what a policy lets run, and what it leaves to the host.

    POLICY may also be what a cloud's log shows of a denial, policyDecision< … >policyDecision: then
    the reasons are explained.
    """
    data = files.read(policy_path, MAX_FILE_BYTES)
    denials = denial.find(data, file=str(policy_path))
    if denials:
        told = {"denials": [denial_words.document(each) for each in denials]}
        emit(told, denial_words.explain(denials), as_json=as_json)
        return
    found = policy_file.read_one(data, file=str(policy_path), group=group)
    policy = Policy.parse(found.text, file=found.where)
    named = form.name(found)
    for warning in named.warnings:
        say(printable(f"warning: {warning}"))
    emit(explain.document(named, policy), explain.explain(named, policy), as_json=as_json)
