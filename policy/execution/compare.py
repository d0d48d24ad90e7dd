"""What one policy lets happen and another does not: their difference in meaning, one way.

Asked both ways, no answer at all means that both allow the same, whatever their texts are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from sealserve.policy.execution import normal
from sealserve.policy.execution.framework import versions
from sealserve.policy.execution.framework.points import POINTS, Point
from sealserve.policy.execution.framework.policy import Policy, is_binding_to
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import UNDEFINED, holds, items, member, same, shown
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.normal import Entry
from sealserve.policy.trust_diff import Beyond

Found = Iterator[Beyond]


def beyond(one: Policy, other: Policy) -> tuple[Beyond, ...]:
    """Everything that `one` allows a Linux guest and `other` does not."""
    return tuple(found for compare in _COMPARED for found in compare(one, other))


def _matters(point: str, one: Policy, other: Policy) -> bool:
    """Whether what the framework reads for a point can let more happen under `one`.

    Not where `one` does not ask the framework, nor where `other` allows everything there anyway.
    """
    ours, theirs = (_answer(point, POINTS[point], policy) for policy in (one, other))
    return ours == _FRAMEWORK and theirs != _ALLOWED


# ---- points and flags

_DENIED, _FRAMEWORK, _ALLOWED = 0, 1, 2
_WORDS = ("denied", "as the framework's rules have it", "allowed")


def _points(one: Policy, other: Policy) -> Found:
    for name, point in POINTS.items():
        if point.windows:
            continue
        ours, theirs = _answer(name, point, one), _answer(name, point, other)
        if ours > theirs:
            yield Beyond(name, _WORDS[ours], _WORDS[theirs])
        elif ours == theirs == _ALLOWED and not same(_own(name, one), _own(name, other)):
            yield Beyond(name, shown(_own(name, one)), shown(_own(name, other)))


def _answer(name: str, point: Point, policy: Policy) -> int:
    """What a policy has for a point, told by what it can come to at most."""
    said = policy.rule(name)
    if policy.api_version is None or not versions.is_semver(policy.api_version):
        return _DENIED
    if is_binding_to(said, name):
        return _FRAMEWORK
    if said is not UNDEFINED:
        return _ALLOWED if member(said, "allowed") is True else _DENIED
    if versions.at_least(policy.api_version, point.since):
        return _DENIED
    return {"allow": _ALLOWED, "deny": _DENIED, "framework": _FRAMEWORK}[point.older]


def _own(name: str, policy: Policy) -> object:
    said = policy.rule(name)
    return POINTS[name].defaults() if said is UNDEFINED else said


def _versions(one: Policy, other: Policy) -> Found:
    """A guest that is older than a policy's framework starts nothing under it."""
    ours, theirs = one.framework_version, other.framework_version
    if versions.compare(ours, theirs) == -1 and _matters("create_container", one, other):
        yield Beyond("framework_version", f"guests from {ours} on", f"guests from {theirs} on")


# The point at which the framework looks at a flag, where that is not the start of a container.
_DECIDES: Mapping[str, str] = {
    "allow_properties_access": "get_properties",
    "allow_dump_stacks": "dump_stacks",
    "allow_runtime_logging": "runtime_logging",
    "allow_unencrypted_scratch": "scratch_mount",
    "allow_host_network": "host_network",
}


def _flags(one: Policy, other: Policy) -> Found:
    names = sorted({n for p in (one, other) for n in p.module.rules if n.startswith("allow_")})
    for name in names:
        decides = _DECIDES.get(name, "create_container")
        looser = one.allows(name) and not other.allows(name)
        if looser and _matters(decides, one, other):
            yield Beyond(name, "true", "false")


# ---- containers


def _containers(one: Policy, other: Policy) -> Found:
    if not _matters("create_container", one, other):
        return
    ours, theirs = normal.entries(one), normal.entries(other)
    for entry, partner in _pairs(ours, theirs):
        if partner is None:
            command = shown(entry.field("command"))
            yield Beyond(entry.label, f"the whole container, which runs {command}")
        elif normal.meaning(entry) != normal.meaning(partner):
            for compare in _OF_CONTAINERS:
                for found in compare(entry, partner):
                    yield Beyond(f"{entry.label}.{found.key}", found.accepted, found.wanted)


def _pairs(ours: list[Entry], theirs: list[Entry]) -> list[tuple[Entry, Entry | None]]:
    """The same whichever side asks: pairs are found from the side whose text comes first."""
    key = [normal.meaning(entry) for entry in ours], [normal.meaning(entry) for entry in theirs]
    if key[0] <= key[1]:
        return normal.pairs(ours, theirs)
    back = normal.pairs(theirs, ours)
    found = {id(partner): entry for entry, partner in back if partner is not None}
    return [(entry, found.get(id(entry))) for entry in ours]


def _exact(one: Entry, other: Entry) -> Found:
    for name in ("layers", "command", "working_dir", "seccomp_profile_sha256"):
        if normal.text(one.field(name)) != normal.text(other.field(name)):
            yield Beyond(name, shown(one.field(name)), shown(other.field(name)))


def _of_flags(one: Entry, other: Entry) -> Found:
    for name in normal.FLAGS:
        ours, theirs = holds(one.field(name)), holds(other.field(name))
        looser = theirs and not ours if name == "no_new_privileges" else ours and not theirs
        if looser:
            yield Beyond(name, shown(ours), shown(theirs))


def _environment(one: Entry, other: Entry) -> Found:
    ours, theirs = (items(entry.field("env_rules")) for entry in (one, other))
    yield from _more("env_rules", map(normal.variables, ours), map(normal.variables, theirs))
    needed = [normal.variables(each) for each in ours if holds(member(each, "required"))]
    for each in theirs:
        if holds(member(each, "required")) and normal.variables(each) not in needed:
            yield Beyond("env_rules", f"a start without {normal.variables(each)}", "required")


def _mounts(one: Entry, other: Entry) -> Found:
    ours, theirs = (items(entry.field("mounts")) for entry in (one, other))
    yield from _more("mounts", map(normal.mount, ours), map(normal.mount, theirs))


def _processes(one: Entry, other: Entry) -> Found:
    ours, theirs = (items(entry.field("exec_processes")) for entry in (one, other))
    yield from _more("exec_processes", map(normal.process, ours), map(normal.process, theirs))


def _signals(one: Entry, other: Entry) -> Found:
    ours, theirs = (items(entry.field("signals")) for entry in (one, other))
    yield from _more("signals", map(normal.text, ours), map(normal.text, theirs))


def _user(one: Entry, other: Entry) -> Found:
    ours, theirs = normal.user(one.field("user")), normal.user(other.field("user"))
    if ours["umask"] != theirs["umask"]:
        yield Beyond("user.umask", shown(ours["umask"]), shown(theirs["umask"]))
    if ours["user"] != theirs["user"] and theirs["user"] != "any":
        yield Beyond("user.user_idname", shown(ours["user"]), shown(theirs["user"]))
    groups = [text for text in items(ours["groups"]) if text not in items(theirs["groups"])]
    if groups and "any" not in items(theirs["groups"]):
        yield Beyond("user.group_idnames", shown(groups), shown(theirs["groups"]))


def _capabilities(one: Entry, other: Entry) -> Found:
    """A start has exactly these sets, so that more and less are each something else."""
    for privileged in (False, True):
        ours, theirs = one.capabilities(privileged), other.capabilities(privileged)
        differing = {n: each for n, each in ours.items() if each != theirs.get(n, set())}
        for name, each in differing.items():
            other_set = theirs.get(name, set())
            more, fewer = sorted(each - other_set), sorted(other_set - each)
            told = [f"with {', '.join(more)}"] if more else []
            told += [f"without {', '.join(fewer)}"] if fewer else []
            yield Beyond(f"capabilities.{name}", " and ".join(told))
        if differing:
            return


_OF_CONTAINERS: tuple[Callable[[Entry, Entry], Found], ...] = (
    *(_exact, _of_flags, _user, _capabilities, _environment, _mounts, _processes, _signals),
)


def _more(key: str, ours: Iterable[str], theirs: Iterable[str]) -> Found:
    """What stands in the one list and not in the other; both are sets."""
    known = {*theirs}
    for each in dict.fromkeys(ours):
        if each not in known:
            yield Beyond(key, cut(each))


# ---- what is beside the containers


def _fragments(one: Policy, other: Policy) -> Found:
    if not _matters("load_fragment", one, other):
        return
    theirs = other.fragments()
    for entry in one.fragments():
        near = [each for each in theirs if _source(each) == _source(entry)]
        if not near:
            yield Beyond(entry.label, f"fragments of {_source(entry)}")
        elif not any(_covers(each, entry) for each in near):
            yield Beyond(entry.label, _loading(entry), _loading(near[0]))


def _source(entry: Candidate) -> str:
    return f"{member(entry.fields, 'feed')} by {member(entry.fields, 'issuer')}"


def _covers(wide: Candidate, narrow: Candidate) -> bool:
    """Whether everything that one entry loads is loaded by the other as well."""
    includes = [normal.text(each) for each in items(member(wide.fields, "includes"))]
    receipts = [normal.text(each) for each in items(member(narrow.fields, "required_receipts"))]
    least = member(narrow.fields, "minimum_svn"), member(wide.fields, "minimum_svn")
    return (
        (same(*least) or versions.svn_reaches(*least))
        and all(normal.text(each) in includes for each in items(member(narrow.fields, "includes")))
        and all(
            normal.text(each) in receipts
            for each in items(member(wide.fields, "required_receipts"))
        )
        and _parameters(wide) == _parameters(narrow)
    )


def _parameters(entry: Candidate) -> str:
    value = member(entry.fields, "parameters")
    return normal.text({} if value is UNDEFINED else value)


def _loading(entry: Candidate) -> str:
    names = ("minimum_svn", "includes", "required_receipts", "parameters")
    told = {name: member(entry.fields, name) for name in names}
    return shown({name: value for name, value in told.items() if value not in (UNDEFINED, [], {})})


def _others(one: Policy, other: Policy) -> Found:
    for point, key, read in _LISTS:
        if _matters(point, one, other):
            yield from _more(key, map(normal.text, read(one)), map(normal.text, read(other)))


_LISTS: tuple[tuple[str, str, Callable[[Policy], list[object]]], ...] = (
    ("exec_external", "external_processes", lambda p: [e.fields for e in p.external_processes()]),
    ("create_container", "platform_rules", Policy.platform_rules),
    ("load_transparency_trust_list", "transparency_trust_lists", Policy.trust_lists),
)


_COMPARED: tuple[Callable[[Policy, Policy], Found], ...] = (
    *(_points, _versions, _flags, _containers, _fragments, _others),
)
