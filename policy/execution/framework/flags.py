"""The rules that ask for nothing but a flag of the policy."""

from __future__ import annotations

from sealserve.policy.execution.framework.checks import Check, Outcome, outcome
from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.values import shown


def _flag(name: str, asked: Question) -> Outcome:
    seen = shown(asked.world.policy.rule(name))
    hint = "the policy decides this for good; write it anew to change it"
    return outcome([Check(name, asked.world.policy.allows(name), seen, "true", hint)])


def get_properties(asked: Question) -> Outcome:
    """Statistics and processes of containers."""
    return _flag("allow_properties_access", asked)


def dump_stacks(asked: Question) -> Outcome:
    """Stacks of the guest's agent."""
    return _flag("allow_dump_stacks", asked)


def runtime_logging(asked: Question) -> Outcome:
    """Logs of the guest's agent."""
    return _flag("allow_runtime_logging", asked)


def host_network(asked: Question) -> Outcome:
    """The network of the guest itself."""
    return _flag("allow_host_network", asked)


def windows_only(_asked: Question) -> Outcome:
    """What a Linux guest is never asked."""
    hint = "this evaluates Linux guests"
    return outcome([Check("point", False, "a point of Windows guests", "one of Linux", hint)])
