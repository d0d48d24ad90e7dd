"""Commands that the platform starts inside a running container: probes and hooks of life cycles."""

from __future__ import annotations

from sealserve.policy.execution.complaints import NOTHING, Place
from sealserve.policy.execution.lookup import find
from sealserve.policy.execution.wanted import Process


def probe(properties: object, name: str, place: Place) -> list[Process]:
    """The command of a probe's or hook's exec action; others, as of HTTP, start nothing."""
    action = find(find(properties, name), "exec")
    if not action:
        return []
    command = find(action, "command")
    if not command:
        here = place.at(name).at("exec").at("command")
        here.refuse(NOTHING if command is None else command, "a command", "a list of words")
        return []
    return [Process(command)]
