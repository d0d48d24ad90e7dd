"""`sealserve policy simulate`: what a guest would answer, before there is one."""

from __future__ import annotations

from pathlib import Path

import click

from sealserve.cli import files, policy_input
from sealserve.cli.output import emit, json_option, say
from sealserve.cli.policy_input import group_option, policy_argument
from sealserve.native.errors import ConfigError, PolicyViolation, printable
from sealserve.policy.execution import own_rules, rego_engine, requests, simulation
from sealserve.policy.execution import simulation_words as words
from sealserve.policy.execution.framework import Policy
from sealserve.policy.execution.policy_file import PolicyFile
from sealserve.policy.execution.rego import OwnRulesError
from sealserve.policy.execution.rego_engine import Regopy
from sealserve.policy.execution.requests import Requests
from sealserve.policy.execution.simulation import Answer


@click.command(
    "simulate", epilog="Example: sealserve policy simulate policy.rego requests.json --json"
)
@policy_argument
@click.argument(
    "requests_path", metavar="REQUESTS", type=click.Path(path_type=Path, dir_okay=False)
)
@group_option
@click.option(
    "--framework",
    "framework_path",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The guest's framework.rego, for a policy with rules of its own that asks it.",
)
@json_option
def command(
    policy_path: Path,
    requests_path: Path,
    group: str,
    framework_path: Path | None,
    as_json: bool,
) -> int:
    """Ask a policy a sequence of requests, as a guest does, and say what decided each of them.

    REQUESTS is JSON: {"steps": [{"point": "mount_device", "input": {…}}, …]}. What a policy allows
    changes what the guest remembers, and so what it allows next. Exit status 6 means that something
    was denied. A policy with rules of its own is run by regopy, which is not the engine of any
    guest, and the answer says so.
    """
    found = policy_input.find(policy_path, group)
    asked = requests.parse(
        files.read(requests_path, requests.MAX_REQUESTS_BYTES), file=str(requests_path)
    )
    try:
        policy = Policy.parse(found.text, file=found.where)
    except OwnRulesError as why:
        return _emit(found, *_by_regopy(found, asked, framework_path, why), as_json=as_json)
    if framework_path is not None:
        raise ConfigError(
            "is only read for a policy with rules of its own, and this one has none",
            key="--framework",
            hint="leave it out: the framework's rules are worked out here",
        )
    _tell_vanished(policy)
    return _emit(found, simulation.simulate(policy, asked), "", as_json=as_json)


def _by_regopy(
    found: PolicyFile, asked: Requests, framework_path: Path | None, why: OwnRulesError
) -> tuple[list[Answer], str]:
    """What regopy answers, and what it is called; says before that it is not the guest's engine."""
    if not rego_engine.installed():
        raise ConfigError(
            why.reason,
            file=why.file,
            line=why.line,
            key=why.key,
            hint=f"{why.hint}; regopy, which is no guest's engine, runs them here once "
            "`pip install 'sealserve[rego]'` has brought it",
        ) from why
    framework = None
    if framework_path is not None:
        framework = files.read(framework_path, own_rules.MAX_FRAMEWORK_BYTES)
    engine = Regopy.of(own_rules.modules(found.text, framework, file=found.where))
    place = f"{why.file}, line {why.line}" if why.line else why.file
    say(printable(f"warning: {place}: {why.reason}"))
    say(
        f"warning: every answer is {engine.name}'s, which is no guest's engine: "
        f"{rego_engine.DIFFERENCES}; a guest may deny what is allowed here, or allow what is denied"
    )
    answers = own_rules.simulate(engine, asked, framework=framework is not None, file=found.where)
    return answers, engine.name


def _emit(found: PolicyFile, answers: list[Answer], engine: str, *, as_json: bool) -> int:
    allowed = all(answer.allowed for answer in answers)
    result = {
        "sha256": found.sha256.hex(),
        "engine": f"{engine}, not the guest's own" if engine else "sealserve",
        "allowed": allowed,
        "steps": simulation.document(answers),
    }
    told = words.explain(answers, name_rules=bool(engine)) or "nothing was asked"
    emit(result, told, as_json=as_json)
    return 0 if allowed else PolicyViolation.exit_code


def _tell_vanished(policy: Policy) -> None:
    for label, fields in policy.vanished():
        missing = ", ".join(fields)
        say(printable(f"warning: {label} has no {missing}: a guest does not see it at all"))
