"""The conditions that tell apart which container a request can mean, one by one.

A condition looks at one field; its sides are told in JSON. Order and names are the guest's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sealserve.policy.execution import patterns
from sealserve.policy.execution.framework import mounts
from sealserve.policy.execution.framework.checks import Check, Considered
from sealserve.policy.execution.framework.question import Case, Question
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import (
    UNDEFINED,
    holds,
    items,
    member,
    same,
    shown,
    texts,
)

Holds = Callable[[Case], bool]
Side = Callable[[Case], str]


@dataclass(frozen=True)
class Condition:
    """One field and what makes it fit. hint: what a person can do where it does not."""

    field: str
    holds: Holds
    seen: Side
    wanted: Side
    hint: str

    def check(self, case: Case) -> Check:
        """The condition on one container."""
        held = self.holds(case)
        sides = (
            self.seen(case),
            self.wanted(case),
        )
        return Check(self.field, held, *sides, "" if held else self.hint)


def consider(case: Case, conditions: Sequence[Condition]) -> Considered:
    """Every condition on one container."""
    checks = tuple(condition.check(case) for condition in conditions)
    return Considered(case.candidate.label, checks)


# ---- what the fields have to be


def no_new_privileges(case: Case) -> bool:
    """A container that must not gain privileges has to be asked for like that."""
    wanted = case.field("no_new_privileges")
    return _no_new_privileges(wanted, case)


def _no_new_privileges(wanted: object, case: Question) -> bool:
    if wanted is UNDEFINED:
        return False
    return not holds(wanted) or holds(case.get("noNewPrivileges"))


def user(case: Case) -> bool:
    """The umask, the person, and for every group some entry that fits."""
    return user_fits(case.field("user"), case)


def user_fits(wanted: object, case: Question) -> bool:
    """As `user`, for the user of a container or of a process."""
    groups = case.get("groups")
    return (
        same(member(wanted, "umask"), case.get("umask"))
        and _is(member(wanted, "user_idname"), case.get("user"))
        and isinstance(groups, list)
        and all(
            any(_is(entry, group) for entry in items(member(wanted, "group_idnames")))
            for group in groups
        )
    )


def _is(entry: object, person: object) -> bool:
    pattern, strategy = member(entry, "pattern"), member(entry, "strategy")
    if UNDEFINED in (pattern, strategy, person):
        return False
    if strategy == "re2":
        return patterns.matches(pattern, member(person, "name"))
    if strategy in ("id", "name"):
        return same(pattern, member(person, str(strategy)))
    return strategy == "any"


def privileged(case: Case) -> bool:
    """Only a container that may be elevated can be asked for as privileged."""
    elevated = case.field("allow_elevated")
    asked = case.get("privileged")
    return elevated is not UNDEFINED and (not holds(asked) or same(asked, elevated))


def working_dir(case: Case) -> bool:
    """Equal, letter for letter."""
    return same(case.get("workingDir"), case.field("working_dir"))


def command_fits(command: object, case: Question) -> bool:
    """Equal, word for word; null is no command and fits nothing."""
    arguments = case.get("argList")
    return (
        isinstance(command, list)
        and isinstance(arguments, list)
        and len(command) == len(arguments)
        and all(same(one, other) for one, other in zip(command, arguments, strict=True))
    )


def command(case: Case) -> bool:
    """The container's own command."""
    return command_fits(case.field("command"), case)


def processes(candidate: Candidate) -> list[object]:
    """What may be started in a running container."""
    return items(member(candidate.fields, "exec_processes"))


def exec_command(case: Case) -> bool:
    """The command of one of the container's exec processes."""
    return any(command_fits(member(each, "command"), case) for each in processes(case.candidate))


def mounts_fit(case: Case) -> bool:
    """Every mount asked for is allowed; those of the policy need not be asked for."""
    asked = case.get("mounts")
    known = _says_what_it_mounts(case) and isinstance(asked, list)
    return known and not refused_mounts(case)


def _says_what_it_mounts(case: Case) -> bool:
    return UNDEFINED not in (
        case.field("mounts"),
        case.field("allow_elevated"),
    )


def may_mount(case: Case, mount: object) -> bool:
    """Whether one mount is allowed."""
    return _says_what_it_mounts(case) and mounts.allowed(case, mount)


def refused_mounts(case: Case) -> list[object]:
    """Mounts of the request that this container may not have."""
    asked = items(case.get("mounts"))
    return [each for each in asked if not mounts.allowed(case, each)]


def seccomp(case: Case) -> bool:
    """Equal; a container without a profile must not be given one."""
    wanted = case.field("seccomp_profile_sha256")
    return same(case.get("seccompProfileSHA256"), wanted)


def devices(case: Case) -> bool:
    """None: no policy can name a device."""
    return no_devices(case)


def no_devices(case: Question) -> bool:
    """Whether the request says that it wants none."""
    return case.get("devices") == []


# ---- how they are told


def _asked(name: str) -> Side:
    return lambda case: shown(case.get(name))


def _stands(name: str) -> Side:
    return lambda case: shown(case.field(name))


def _person_seen(case: Case) -> str:
    return shown(case.told("user", "groups", "umask"))


def _mounts_seen(case: Case) -> str:
    refused = refused_mounts(case)
    return shown(refused) if refused else _asked("mounts")(case)


def _mounts_wanted(case: Case) -> str:
    """What the policy has for those destinations, all of it where it has nothing."""
    listed = items(case.field("mounts"))
    refused = refused_mounts(case)
    places = [member(each, "destination") for each in refused]
    near = [each for each in listed if any(same(member(each, "destination"), p) for p in places)]
    return shown(near or [member(each, "destination") for each in listed])


def _commands(case: Case) -> str:
    return shown([command_of(each) for each in processes(case.candidate)])


def command_of(process: object) -> object:
    """Its command where it has one, for messages."""
    return texts(member(process, "command"))


def _no_devices(_case: Case) -> str:
    return "[]"


NO_NEW_PRIVILEGES = Condition(
    "no_new_privileges",
    no_new_privileges,
    _asked("noNewPrivileges"),
    _stands("no_new_privileges"),
    "set allowPrivilegeEscalation to false in the deployment",
)
USER = Condition(
    "user",
    user,
    _person_seen,
    _stands("user"),
    "run as the user of the policy, or write the policy for this user (runAsUser, runAsGroup)",
)
PRIVILEGED = Condition(
    "allow_elevated",
    privileged,
    _asked("privileged"),
    _stands("allow_elevated"),
    "ask for the container without privileges",
)
WORKING_DIR = Condition(
    "working_dir",
    working_dir,
    _asked("workingDir"),
    _stands("working_dir"),
    "start it in the folder of the policy, which is the image's unless the policy was told another",
)
COMMAND = Condition(
    "command",
    command,
    _asked("argList"),
    _stands("command"),
    "start exactly this command, or write the policy anew for the other one",
)
EXEC_COMMAND = Condition(
    "exec_processes",
    exec_command,
    _asked("argList"),
    _commands,
    "only these commands may be started beside the main one: probes and what the policy lists",
)
MOUNTS = Condition(
    "mounts",
    mounts_fit,
    _mounts_seen,
    _mounts_wanted,
    "mount only what the policy lists, with its options and from its source",
)
SECCOMP = Condition(
    "seccomp_profile_sha256",
    seccomp,
    _asked("seccompProfileSHA256"),
    _stands("seccomp_profile_sha256"),
    "give the profile the policy was written with, or none if it has none",
)
DEVICES = Condition(
    "devices", devices, _asked("devices"), _no_devices, "no policy can allow a device: ask for none"
)

CREATE: Sequence[Condition] = (
    *(NO_NEW_PRIVILEGES, USER, PRIVILEGED, WORKING_DIR, COMMAND, MOUNTS, SECCOMP, DEVICES),
)
EXEC: Sequence[Condition] = (WORKING_DIR, NO_NEW_PRIVILEGES, USER, EXEC_COMMAND)
EXTERNAL: Sequence[Condition] = (WORKING_DIR, COMMAND)
