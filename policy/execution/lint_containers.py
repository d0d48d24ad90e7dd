"""What one container of a policy leaves to the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from sealserve.policy.execution.framework.values import holds, items, member, texts
from sealserve.policy.execution.lint_variables import of_rules
from sealserve.policy.execution.normal import Entry
from sealserve.policy.remarks import Remark, Remarks

_SHELLS = frozenset(("sh", "bash", "ash", "dash", "zsh", "ksh", "busybox"))
_AZURE_FILE = "/azureFileVolume/"


def of_container(entry: Entry) -> Remarks:
    """Every remark on it, keys relative to the policy."""
    for look in _LOOKS:
        for remark in look(entry):
            yield Remark(remark.rank, f"{entry.label}.{remark.key}", remark.what, remark.hint)


def _privileged(entry: Entry) -> Remarks:
    if holds(entry.field("allow_elevated")):
        yield Remark(
            "danger",
            "allow_elevated",
            "may start privileged: it can reach everything in the guest",
            "leave privileges out, or add single capabilities",
        )


def _command(entry: Entry) -> Remarks:
    if texts(entry.field("command")) is None:
        yield Remark(
            "danger",
            "command",
            "no command: the container can never start",
            "the image has none either: give one in the deployment",
        )
    elif is_shell(texts(entry.field("command")) or []):
        yield Remark("danger", "command", _SHELL, "start the program itself")


_SHELL = "a shell that reads what the host types: it can run anything in the container"


def is_shell(command: Sequence[str]) -> bool:
    """A shell on its own; one that is told with `-c` what to do runs that and nothing else."""
    program = PurePosixPath(command[0]).name if command else ""
    return program in _SHELLS and not any(
        not word.startswith("-") or "c" in word.lstrip("-") for word in command[1:]
    )


def _processes(entry: Entry) -> Remarks:
    for index, process in enumerate(items(entry.field("exec_processes"))):
        command = texts(member(process, "command")) or []
        if is_shell(command):
            yield Remark(
                "danger",
                f"exec_processes[{index}]",
                f"{' '.join(command)}: {_SHELL}",
                "generate the policy without debug mode",
            )


def _stdio(entry: Entry) -> Remarks:
    if holds(entry.field("allow_stdio_access")):
        yield Remark(
            "note",
            "allow_stdio_access",
            "the host reads what the container prints",
            "print nothing secret, or generate the policy without stdio",
        )


def _mounts(entry: Entry) -> Remarks:
    for index, mount in enumerate(items(entry.field("mounts"))):
        shared = _AZURE_FILE in str(member(mount, "source"))
        if shared and "rw" in items(member(mount, "options")):
            yield Remark(
                "doubt",
                f"mounts[{index}]",
                f"{member(mount, 'destination')} is a file share that can be written to: its host "
                "reads and changes what is there",
                "seal what is written, check what is read, or mount it read-only",
            )


def _signals(entry: Entry) -> Remarks:
    odd = [signal for signal in items(entry.field("signals")) if not isinstance(signal, int)]
    if odd:
        yield Remark(
            "doubt", "signals", f"{odd[0]!r} is no number and never matches", "use numbers"
        )


def _environment(entry: Entry) -> Remarks:
    yield from of_rules(items(entry.field("env_rules")))


_LOOKS: tuple[Callable[[Entry], Remarks], ...] = (
    *(_privileged, _command, _processes, _environment, _mounts, _signals, _stdio),
)
