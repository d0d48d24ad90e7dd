"""Which mounts a container may have: its own, those every container has, and of the privileged.

A policy's source may begin with a prefix that stands for a directory of this pod, and is a pattern
then; or with the prefix of Plan 9 shares, which stands for whatever was mounted for this container.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.policy.execution import patterns
from sealserve.policy.execution.framework.guest import SANDBOX_SYS
from sealserve.policy.execution.framework.question import Case
from sealserve.policy.execution.framework.values import (
    UNDEFINED,
    holds,
    items,
    member,
    same,
    same_members,
)


def allowed(case: Case, mount: object) -> bool:
    """Whether this container may have this mount."""
    guest = case.world.guest
    constraints: list[object] = [*items(case.field("mounts")), *guest.default_mounts]
    if holds(case.field("allow_elevated")):
        constraints += guest.privileged_mounts
    return any(_meets(mount, each, case) for each in constraints) or _is_sandbox_sys(mount, case)


def _meets(mount: object, constraint: object, case: Case) -> bool:
    destination = member(mount, "destination")
    return (
        same(member(mount, "type"), member(constraint, "type"))
        and destination != ""
        and same(destination, member(constraint, "destination"))
        and same_members(_options(mount), _options(constraint))
        and _source_meets(member(mount, "source"), member(constraint, "source"), case)
    )


def _options(mount: object) -> Sequence[object]:
    """None of either kind is a list that equals nothing, not even another missing one."""
    options = member(mount, "options")
    return options if isinstance(options, list) else [UNDEFINED]


def _source_meets(source: object, constraint: object, case: Case) -> bool:
    if same(source, constraint):
        return True
    if not isinstance(constraint, str):
        return False
    guest = case.world.guest
    directories = {guest.sandbox_prefix: "sandboxDir", guest.huge_pages_prefix: "hugePagesDir"}
    for prefix, name in directories.items():
        directory = case.get(name)
        if constraint.startswith(prefix) and isinstance(directory, str):
            pattern = constraint.replace(prefix, directory)
            if patterns.matches(pattern, source):
                return True
    return constraint.startswith(guest.plan9_prefix) and _is_shared(source, case)


def _is_shared(source: object, case: Case) -> bool:
    shares = case.world.state.p9mounts
    return isinstance(source, str) and same(shares.get(source, UNDEFINED), case.get("containerID"))


def _is_sandbox_sys(mount: object, case: Case) -> bool:
    """containerd mounts /sys writable in the sandbox of a privileged pod, without saying so."""
    return (
        holds(case.get("isSandboxContainer"))
        and all(same(member(mount, n), SANDBOX_SYS[n]) for n in ("type", "source", "destination"))
        and same_members(_options(mount), items(SANDBOX_SYS["options"]))
    )
