"""A container by what it lets happen: in a form that is equal where two mean the same.

Names, remarks and the order of what is a set mean nothing to a guest; fields that an older version
of the framework leaves out mean what the guest fills in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sealserve.policy.execution.framework import capabilities, fill
from sealserve.policy.execution.framework.guest import Guest
from sealserve.policy.execution.framework.policy import Policy
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import Fields, holds, items, member
from sealserve.policy.execution.framework.world import World
from sealserve.policy.execution.rego import Binding, Parameter


@dataclass(frozen=True)
class Entry:
    """A container as a guest sees it, under the names that people have for it."""

    candidate: Candidate
    name: object
    image: object
    policy: Policy

    @property
    def label(self) -> str:
        """Its place, and its name if it has one."""
        return self.candidate.label

    def field(self, name: str) -> object:
        """A field, filled in where the policy is older than that."""
        return member(self.candidate.fields, name)

    def capabilities(self, privileged: bool) -> dict[str, set[str]]:
        """The five sets that it starts with."""
        lists = capabilities.of(self.candidate, privileged, World(self.policy, Guest())) or {}
        return {name: {str(each) for each in listed} for name, listed in lists.items()}


def entries(policy: Policy) -> list[Entry]:
    """Every container that a guest sees."""
    seen = {candidate.label: candidate for candidate in policy.containers()}
    named = [
        (fill.label("containers", index, raw), raw)
        for index, raw in enumerate(items(policy.rule("containers")))
    ]
    return [
        Entry(seen[label], member(raw, "name"), member(raw, "id"), policy)
        for label, raw in named
        if label in seen
    ]


def pairs(ours: list[Entry], theirs: list[Entry]) -> list[tuple[Entry, Entry | None]]:
    """Each of ours with the one of theirs that it should be compared with, if any is left.

    The same meaning first, then the same name, image and layers.
    """
    left, found = [*theirs], dict[int, Entry]()
    for key in (meaning, lambda e: _text(e.name), lambda e: _text(e.image), _layers):
        for index, entry in enumerate(ours):
            wanted = key(entry)
            if index not in found and wanted:
                other = next((each for each in left if key(each) == wanted), None)
                if other is not None:
                    found[index] = other
                    left.remove(other)
    return [(entry, found.get(index)) for index, entry in enumerate(ours)]


def meaning(entry: Entry) -> str:
    """Equal for containers that let the same happen."""
    fields = {
        "command": entry.field("command"),
        "layers": entry.field("layers"),
        "working_dir": entry.field("working_dir"),
        "seccomp": entry.field("seccomp_profile_sha256"),
        "user": user(entry.field("user")),
        "rules": sorted({rule(each) for each in items(entry.field("env_rules"))}),
        "mounts": sorted({mount(each) for each in items(entry.field("mounts"))}),
        "processes": sorted({process(each) for each in items(entry.field("exec_processes"))}),
        "signals": sorted({text(each) for each in items(entry.field("signals"))}),
        "flags": [holds(entry.field(name)) for name in FLAGS],
        "capabilities": [
            {name: sorted(each) for name, each in entry.capabilities(privileged).items()}
            for privileged in (False, True)
        ],
    }
    return text(fields)


# True of these lets something happen that false does not, or the other way round for the last.
FLAGS = ("allow_elevated", "allow_stdio_access", "no_new_privileges")


def text(value: object) -> str:
    """JSON with one spelling; what is computed is told by its name."""
    return json.dumps(value, sort_keys=True, default=_name)


def _name(value: object) -> str:
    return value.name if isinstance(value, Binding | Parameter) else repr(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _layers(entry: Entry) -> str:
    layers = items(entry.field("layers"))
    return text(layers) if layers else ""


def variables(value: object) -> str:
    """The variables that an environment rule lets through."""
    names = ("pattern", "strategy", "name", "name_strategy", "value", "value_strategy")
    return text({n: member(value, n) for n in names if isinstance(member(value, n), str)})


def rule(value: object) -> str:
    """The same, and whether one of them has to be there."""
    return f"{variables(value)}{'!' if holds(member(value, 'required')) else ''}"


def mount(value: object) -> str:
    """A mount with its options as a set."""
    fields: Fields = {n: member(value, n) for n in ("destination", "source", "type")}
    options = sorted(text(each) for each in items(member(value, "options")))
    return text({**fields, "options": [json.loads(each) for each in options]})


def process(value: object) -> str:
    """An exec process with its signals as a set."""
    signals = sorted({text(each) for each in items(member(value, "signals"))})
    return text({"command": member(value, "command"), "signals": signals})


def user(value: object) -> Fields:
    """Who it may run as, groups as a set."""
    groups = sorted(text(each) for each in items(member(value, "group_idnames")))
    return {
        "umask": member(value, "umask"),
        "user": person(member(value, "user_idname")),
        "groups": sorted({person(json.loads(each)) for each in groups}),
    }


def person(value: object) -> str:
    """Anybody, or whom."""
    strategy = member(value, "strategy")
    return "any" if strategy == "any" else f"{strategy} {member(value, 'pattern')}"
