"""The rules about containers: create, exec, signal, shut down; and processes beside them."""

from __future__ import annotations

from sealserve.policy.execution.framework import conditions
from sealserve.policy.execution.framework.capabilities import Lists
from sealserve.policy.execution.framework.checks import (
    Change,
    Check,
    Considered,
    Outcome,
    outcome,
)
from sealserve.policy.execution.framework.conditions import Condition
from sealserve.policy.execution.framework.question import Case, Question
from sealserve.policy.execution.framework.starting import (
    Starting,
    considered,
    fitting,
    narrow,
    stdio,
)
from sealserve.policy.execution.framework.state import Candidate, State
from sealserve.policy.execution.framework.values import (
    UNDEFINED,
    Fields,
    holds,
    items,
    member,
    same,
    shown,
)

NOT_STARTED = "container not started"


def candidates_of(asked: Question) -> list[Candidate]:
    """What the container of a request can still be."""
    return asked.world.state.matches.get(container_id(asked), [])


def container_id(asked: Question) -> str:
    """What the host calls it; nothing at all is no container's name."""
    return asked.text("containerID")


def is_started(asked: Question) -> bool:
    """Whether a container of this name was ever created."""
    return container_id(asked) in asked.world.state.started


def to_create(asked: Question) -> Starting:
    """A request to create a container, as the steps of a start take it."""
    privileged = asked.get("privileged") is True
    found = candidates_of(asked)
    return Starting(asked, found, conditions.CREATE, privileged)


def to_exec(asked: Question) -> Starting:
    """A request to start a process in a container."""
    privileged = asked.world.state.started.get(container_id(asked), False)
    found = candidates_of(asked)
    return Starting(asked, found, conditions.EXEC, privileged)


def to_run_outside(asked: Question) -> Starting:
    """A request to start a process beside the containers."""
    return Starting(asked, asked.world.external_processes(), conditions.EXTERNAL, None)


def create_container(asked: Question) -> Outcome:
    """Let the container be what is left of its candidates."""
    fresh = _fresh(asked)
    starting = to_create(asked)
    steps = narrow(starting, fitting(starting))
    told = considered(starting, steps, with_stdio=True)
    output = stdio(steps.left)
    if not (fresh.held and isinstance(asked.get("privileged"), bool) and output is not UNDEFINED):
        return Outcome(False, (Considered("", (fresh, *_known(asked))), *told))
    result = {**_kept(steps.variables, steps.capabilities), "allow_stdio_access": output}
    left, privileged = steps.left, starting.privileged is True
    return Outcome(True, told, result, _narrowed(asked, left, started=privileged))


def exec_in_container(asked: Question) -> Outcome:
    """Start a process; what it is narrows down what its container is."""
    running = _running(asked)
    starting = to_exec(asked)
    steps = narrow(starting, fitting(starting))
    told = considered(starting, steps, with_stdio=False)
    if not (running.held and steps.left):
        return Outcome(False, (Considered("", (running, *_known(asked))), *told))
    change = _narrowed(asked, steps.left)
    return Outcome(True, told, _kept(steps.variables, steps.capabilities), change)


def exec_external(asked: Question) -> Outcome:
    """Start a process beside the containers, in the guest itself."""
    starting = to_run_outside(asked)
    steps = narrow(starting, fitting(starting))
    told = considered(starting, steps, with_stdio=True)
    output = stdio(steps.left)
    if output is UNDEFINED:
        none = _listed("external_processes", len(starting.candidates))
        return Outcome(False, (Considered("", none), *told))
    return Outcome(True, told, {"env_list": steps.variables, "allow_stdio_access": output})


def shutdown_container(asked: Question) -> Outcome:
    """Forget what the container could be; its name stays taken."""
    name = container_id(asked)
    return outcome([_running(asked)], lambda state: state.matches.pop(name, None))


def signal_container_process(asked: Question) -> Outcome:
    """Send a signal to the main process, or to one that was started in the container."""
    running = _running(asked)
    condition = signal_condition(asked)
    found = candidates_of(asked)
    told = tuple(conditions.consider(asked.about(each), [condition]) for each in found)
    left = [each for each in found if condition.holds(asked.about(each))]
    if not (running.held and left):
        return Outcome(False, (Considered("", (running, *_known(asked))), *told))
    return Outcome(True, told, None, _narrowed(asked, left))


def _narrowed(
    asked: Question, candidates: list[Candidate], *, started: bool | None = None
) -> Change:
    """A container is one of these from now on. started: whether privileged, if it starts now."""
    name = container_id(asked)

    def change(state: State) -> None:
        state.matches[name] = candidates
        if started is not None:
            state.started[name] = started

    return change


# ---- conditions on signals


def _signal(case: Case) -> bool:
    return _is_listed(case.field("signals"), case)


def _exec_signal(case: Case) -> bool:
    return any(
        conditions.command_fits(member(each, "command"), case)
        and _is_listed(member(each, "signals"), case)
        for each in conditions.processes(case.candidate)
    )


def _is_listed(signals: object, case: Case) -> bool:
    return any(same(case.get("signal"), each) for each in items(signals))


def _signal_seen(case: Case) -> str:
    return shown(case.get("signal"))


def _signals(case: Case) -> str:
    return shown(case.field("signals"))


def _exec_signal_seen(case: Case) -> str:
    return shown(case.told("argList", "signal"))


def _exec_signals(case: Case) -> str:
    return shown(
        [
            {"command": conditions.command_of(each), "signals": member(each, "signals")}
            for each in conditions.processes(case.candidate)
            if member(each, "signals") is not UNDEFINED
        ]
    )


def signal_condition(asked: Question) -> Condition:
    """The main process and those started later have signals of their own."""
    return SIGNAL if holds(asked.get("isInitProcess")) else EXEC_SIGNAL


_SIGNAL_HINT = "the policy lists the signals that each process may get"
SIGNAL = Condition("signals", _signal, _signal_seen, _signals, _SIGNAL_HINT)
EXEC_SIGNAL = Condition(
    "exec_processes", _exec_signal, _exec_signal_seen, _exec_signals, _SIGNAL_HINT
)


# ---- conditions on the container as such


def _fresh(asked: Question) -> Check:
    return Check(
        "containerID",
        container_id(asked) != "" and not is_started(asked),
        shown(asked.get("containerID")),
        "a name that no container had since the guest started",
        "create it under another name: not even a container that was shut down can come back",
        "container already started" if is_started(asked) else "",
    )


def _running(asked: Question) -> Check:
    return Check(
        "containerID",
        is_started(asked),
        shown(asked.get("containerID")),
        f"one of {shown(sorted(asked.world.state.started))}",
        "create the container first",
        NOT_STARTED,
    )


def _known(asked: Question) -> tuple[Check, ...]:
    """Says so where there is not one candidate: then no condition was looked at."""
    if candidates_of(asked):
        return ()
    return (
        Check(
            "containerID",
            False,
            f"{shown(asked.get('containerID'))}, which has no layers",
            f"one of {shown(sorted(asked.world.state.matches))}",
            "mount its layers and its overlay first (mount_device, mount_overlay)",
        ),
    )


def _listed(name: str, count: int) -> tuple[Check, ...]:
    if count:
        return ()
    hint = "the policy names every process that may run; write it anew to add one"
    return (Check(name, False, "none in the policy", "one that fits the request", hint),)


def _kept(variables: list[str] | None, lists: Lists | None) -> Fields:
    """What a start comes back with."""
    return {
        "env_list": variables,
        "caps_list": None if lists is None else {name: [*each] for name, each in lists.items()},
    }
