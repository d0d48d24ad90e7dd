"""The guest's own words for a denial, as a cloud's log shows them.

They are worked out anew from the request, one condition over all candidates each, and can mislead:
a request that no single container meets may get none at all, and a process that is denied in a
container always gets two about its user (hcsshim framework.rego, "Error messages").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from sealserve.policy.execution.framework import capabilities, conditions, environment, versions
from sealserve.policy.execution.framework.checks import Outcome, failed
from sealserve.policy.execution.framework.conditions import Condition
from sealserve.policy.execution.framework.containers import (
    NOT_STARTED,
    candidates_of,
    container_id,
    is_started,
    signal_condition,
    to_create,
    to_exec,
    to_run_outside,
)
from sealserve.policy.execution.framework.question import Question
from sealserve.policy.execution.framework.starting import Starting, Steps, fitting, narrow, stdio
from sealserve.policy.execution.framework.state import Candidate
from sealserve.policy.execution.framework.values import UNDEFINED, items, member
from sealserve.policy.execution.framework.world import World

Reasons = Iterator[str]
Single = Sequence[tuple[Condition, str]]

_COMMAND = "invalid command"
_MISSING = "missing required environment variable"
_WORKING_DIR = "invalid working directory"
_CAPABILITIES = "capabilities don't match"
_USER = "invalid user"
_PRIVILEGES = "invalid noNewPrivileges"

_CREATE: Single = (
    (conditions.PRIVILEGED, "privileged escalation not allowed"),
    (conditions.COMMAND, _COMMAND),
    (conditions.WORKING_DIR, _WORKING_DIR),
    (conditions.NO_NEW_PRIVILEGES, _PRIVILEGES),
    (conditions.USER, _USER),
    (conditions.SECCOMP, "invalid seccomp"),
)
_EXEC: Single = ((conditions.EXEC_COMMAND, _COMMAND), (conditions.WORKING_DIR, _WORKING_DIR))
_EXTERNAL: Single = ((conditions.COMMAND, _COMMAND), (conditions.WORKING_DIR, _WORKING_DIR))
# What some reasons look at before they look at anything else: all but devices, or seccomp either.
_WITHOUT_DEVICES = conditions.CREATE[:-1]
_WITHOUT_SECCOMP = conditions.CREATE[:-2]


def of(point: str, asked: Question, outcome: Outcome) -> list[str]:
    """Every text that the built-in rules have for a request at this point.

    outcome: of the framework's rule for it.
    """
    special = _SPECIAL.get(point)
    told = special(asked) if special else (c.reason for c in failed(outcome.considered))
    return with_versions(told, asked.world)


def with_versions(told: Iterable[str], world: World) -> list[str]:
    """Sorted and each once, with what any denial under a policy of another time carries."""
    return sorted({text for text in (*told, *_of_versions(world)) if text})


def _of_versions(world: World) -> Reasons:
    ours, version = versions.FRAMEWORK_VERSION, world.policy.framework_version
    if version is None:
        yield f"framework_version is missing. Current version: {ours}"
    if versions.compare(version, ours) == 1:
        yield f"framework_version is ahead of the current version: {version} is greater than {ours}"


def _of_create(asked: Question) -> Reasons:
    starting = to_create(asked)
    if is_started(asked):
        yield "container already started"
    if not conditions.no_devices(asked):
        yield "devices not supported"
    yield from _nobody_meets(_CREATE, starting)
    yield from _unknown_variables(starting)
    yield from _refused_mounts(starting)
    yield from _no_container_takes_all(starting)
    if not is_started(asked):
        yield from _of_fresh(starting)


def _of_fresh(starting: Starting) -> Reasons:
    likely = fitting(starting, _WITHOUT_SECCOMP)
    if _lacks_required(likely, starting.asked):
        yield _MISSING
    steps = narrow(starting, fitting(starting, _WITHOUT_DEVICES))
    if _fails_at_capabilities(steps):
        yield _CAPABILITIES
    if steps.left and stdio(steps.left) is UNDEFINED:
        yield "containers only distinguishable by allow_stdio_access"
    if _differ_in_capabilities(narrow(starting, likely), starting):
        yield "containers only distinguishable by capabilties"


def _of_exec(asked: Question) -> Reasons:
    starting = to_exec(asked)
    if not is_started(asked):
        yield NOT_STARTED
    yield from _nobody_meets(_EXEC, starting)
    yield from _unknown_variables(starting)
    yield from _of_processes(starting)
    if is_started(asked):
        likely = fitting(starting)
        if _lacks_required(likely, asked):
            yield _MISSING
        if _fails_at_capabilities(narrow(starting, likely)):
            yield _CAPABILITIES


def _of_processes(starting: Starting) -> Reasons:
    """These look for fields of a container in its exec processes, where confcom writes none."""
    processes = [p for each in starting.candidates for p in conditions.processes(each)]
    cases = [
        starting.asked.about(Candidate("", process))
        for process in processes
        if isinstance(process, dict)
    ]
    near = [case for case in cases if conditions.command(case) and conditions.working_dir(case)]
    if not any(conditions.no_new_privileges(case) for case in near):
        yield _PRIVILEGES
    if not any(conditions.user(case) for case in near):
        yield _USER


def _of_external(asked: Question) -> Reasons:
    starting = to_run_outside(asked)
    yield from _nobody_meets(_EXTERNAL, starting)
    yield from _unknown_variables(starting)
    likely = fitting(starting)
    if _lacks_required(likely, asked):
        yield _MISSING
    left = narrow(starting, likely).left
    if left and stdio(left) is UNDEFINED:
        yield "external processes only distinguishable by allow_stdio_access"


def _of_signal(asked: Question) -> Reasons:
    if not is_started(asked):
        yield NOT_STARTED
    wanted = signal_condition(asked)
    if not any(wanted.holds(asked.about(each)) for each in candidates_of(asked)):
        yield "target isn't allowed to receive the signal"


# ---- what several of them look at


def _nobody_meets(single: Single, starting: Starting) -> Reasons:
    for condition, text in single:
        cases = (starting.asked.about(each) for each in starting.candidates)
        if not any(condition.holds(case) for case in cases):
            yield text


def _unknown_variables(starting: Starting) -> Reasons:
    odd = [
        environment.name_of(variable)
        for variable in items(starting.asked.get("envList"))
        if not any(environment.is_allowed(each, variable) for each in starting.candidates)
    ]
    if odd:
        yield f"invalid env list: {','.join(odd)}"


def _refused_mounts(starting: Starting) -> Reasons:
    cases = [starting.asked.about(each) for each in starting.candidates]
    refused = [
        str(member(mount, "destination"))
        for mount in items(starting.asked.get("mounts"))
        if not any(conditions.may_mount(case, mount) for case in cases)
    ]
    if refused:
        yield f"invalid mount list: {','.join(refused)}"


def _no_container_takes_all(starting: Starting) -> Reasons:
    """Each candidate fits, but for one variable at least that it has no rule for."""
    asked = starting.asked
    if container_id(asked) not in asked.world.state.matches:
        return
    variables = items(asked.get("envList"))
    likely = fitting(starting, _WITHOUT_SECCOMP)
    if len(likely) == len(starting.candidates) and all(
        any(not environment.is_allowed(each, variable) for variable in variables) for each in likely
    ):
        yield "invalid env list"


def _lacks_required(candidates: Sequence[Candidate], asked: Question) -> bool:
    variables = items(asked.get("envList"))
    return any(environment.unmet(each, variables) for each in candidates)


def _fails_at_capabilities(steps: Steps) -> bool:
    return steps.capabilities is not None and not steps.left


def _differ_in_capabilities(steps: Steps, starting: Starting) -> bool:
    asked, privileged = starting.asked, starting.privileged is True
    if not steps.after_environment or not asked.world.policy.allows(capabilities.DROPPING):
        return False
    largest = capabilities.largest_sets(steps.after_environment, privileged, asked)
    return steps.capabilities is None and bool(largest)


_SPECIAL: Mapping[str, Callable[[Question], Reasons]] = {
    "create_container": _of_create,
    "exec_in_container": _of_exec,
    "exec_external": _of_external,
    "signal_container_process": _of_signal,
}
