"""One container object of a policy: what was asked for, filled up from the image.

Members as the framework knows them (hcsshim pkg/securitypolicy/framework.rego); `id` and `name`
are for people and tools.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from sealserve.policy.execution import environment, security
from sealserve.policy.execution.complaints import NOTHING, Place, Told, as_json
from sealserve.policy.execution.environment import EnvRule, UnusableError
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.platform import (
    MOUNT_OPTIONS,
    MOUNT_SOURCES,
    POD_MOUNTS,
    POD_RESOLV_CONF,
    POD_RULES,
    RESOLV_CONF,
    RULES,
    SIDECARS,
    SIGNALS,
    Fields,
)
from sealserve.policy.execution.profile import Profile
from sealserve.policy.execution.wanted import Mount, Process, Variable, Wanted

MAX_SIGNAL = 64  # signal(7): the last real-time signal
_FIRST_REAL_TIME = 34  # as C libraries count; they keep the two before for themselves
_REAL_TIME = re.compile(r"(RTMIN|RTMAX)([+-][0-9]{1,2})?")


def container_object(
    wanted: Wanted, image: Image, profile: Profile, place: Place, *, allow_stdio: bool
) -> Fields:
    """What goes into the policy; complaints about it are at `place`."""
    context = place.at("securityContext")
    elevated = security.privileged(wanted.security, context)
    made: Fields = {
        "allow_elevated": elevated,
        "allow_stdio_access": allow_stdio,
        "capabilities": security.capabilities(
            wanted.security, context, elevated=elevated, is_pod=wanted.is_pod
        ),
        "command": _command(wanted, image, place.at("command")),
        "env_rules": _rules(wanted, image, profile, place.at("environmentVariables")),
        "exec_processes": _processes(wanted.processes, place.at("execProcesses")),
        "id": wanted.image,
        "layers": list(image.layers),
        "mounts": _mounts(wanted, place.at("volumeMounts")),
        "name": wanted.name,
        "no_new_privileges": security.no_new_privileges(wanted.security, context),
        "seccomp_profile_sha256": security.seccomp_sha256(wanted.security, context),
        "signals": _signals(wanted, image, profile, place.at("image")),
        "user": security.user(
            wanted.security, image.user if _is_filled(wanted, place) else "", context
        ),
        "working_dir": _working_dir(wanted, image, place.at("workingDir")),
    }
    if not image.layers:
        place.at("image").refuse(NOTHING, "layers", "an image without layers holds no program")
    return made


def _is_filled(wanted: Wanted, place: Place) -> bool:
    """Whether the image fills up what was not said; confcom leaves out the platform's helpers."""
    return place.strict or wanted.alone or not is_sidecar(wanted.image)


def is_sidecar(image: object) -> bool:
    """Whether this is a helper of the platform's own, by its name up to the first colon."""
    return f"{image}".split(":")[0] in SIDECARS


def _command(wanted: Wanted, image: Image, place: Place) -> object:
    command = _argv(wanted, image, place)
    if not place.strict:
        if not isinstance(wanted.command, (list, tuple)):
            place.refuse(wanted.command, "a list of words")
        return command
    if not command:
        place.refuse(
            NOTHING,
            "a command, or an image with an entrypoint",
            "without a command the container could never start: give one in the template",
        )
    elif not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        place.refuse(_odd_word(command), "a list of words, the program first")
    elif not command[0]:
        place.refuse(command, "the name of a program first")
    else:
        for index, word in enumerate(command):
            _check_text(word, place.at(index))
    return command


def _odd_word(command: object) -> object:
    """The word that is none, for a message that says what it lacks."""
    words = command if isinstance(command, list) else []
    return next((word for word in words if not isinstance(word, str)), command)


def _argv(wanted: Wanted, image: Image, place: Place) -> object:
    """Kubernetes replaces entrypoint and command apart, the container group both at once."""
    if wanted.entrypoint is not None:
        if wanted.entrypoint:
            return _joined(wanted.entrypoint, wanted.command)
        return _joined(image.entrypoint, wanted.command or image.cmd)
    if wanted.command or not _is_filled(wanted, place):
        return wanted.command
    return list(image.command) or None


def _joined(front: object, back: object) -> object:
    if isinstance(front, str) or isinstance(back, str):
        return front or back  # not a list: whoever checks it says so
    parts = [*(front if isinstance(front, Sequence) else ())]
    return [*parts, *(back if isinstance(back, Sequence) else ())]


def _working_dir(wanted: Wanted, image: Image, place: Place) -> object:
    path = wanted.working_dir or image.working_dir or "/"
    if not isinstance(path, str) or not path.startswith("/"):
        if wanted.working_dir or place.strict:
            place.refuse(path, "an absolute path")
    elif place.strict:
        _check_text(path, place)
    return path


# ---- environment


def _rules(wanted: Wanted, image: Image, profile: Profile, place: Place) -> list[Fields]:
    """The template's variables, then the image's that it does not set, then the platform's."""
    variables = list(wanted.variables)
    if _is_filled(wanted, place):
        variables += _of_image(image, {_name(entry) for entry in variables}, place)
    if not is_sidecar(wanted.image):
        names = {_name(entry) for entry in variables}
        rules = (*RULES, *(POD_RULES if wanted.is_pod else ()))
        variables += [Variable.of_platform(rule) for rule in rules if rule.name not in names]
    if place.strict:
        _check_variables(variables, place)
    return [
        {
            "pattern": _pattern(entry, profile),
            "required": entry.required,
            "strategy": entry.strategy,
        }
        for entry in variables
    ]


def _pattern(variable: Variable, profile: Profile) -> str:
    """Patterns of people's own get their anchors: guests before June 2025 matched anywhere."""
    anchors = profile.anchored_rules if variable.pinned else profile.strict
    if variable.strategy != "re2" or not anchors:
        return variable.pattern
    return environment.anchored(variable.pattern)


def _name(variable: Variable) -> str:
    return variable.pattern.split("=")[0]


def _of_image(image: Image, taken: set[str], place: Place) -> list[Variable]:
    found: list[Variable] = []
    for text in image.env:
        name, equals, value = text.partition("=")
        if not equals:
            place.refuse(
                text, "NAME=VALUE in the image", "the image's Env is broken: build it anew"
            )
        elif name not in taken:
            variable = Variable(name, value)
            if place.strict and variable in found:
                continue  # said twice in the same words
            found.append(variable)
    return found


def _check_variables(variables: Sequence[Variable], place: Place) -> None:
    """A container has one value per name: with two rules for it, one of them can never be met."""
    seen: dict[str, Variable] = {}
    for variable in variables:
        name = _name(variable)
        if variable.strategy == "string" and name in seen:
            place.at(name).refuse(
                Told(f"two values, {_short(seen[name])} and {_short(variable)}"),
                "one",
                "a container has one value per name: take one of them out",
            )
        seen.setdefault(name, variable)
        _check_rule(variable, place.at(name))


def _short(variable: Variable) -> str:
    return as_json(variable.value)[:40]


def _check_rule(variable: Variable, place: Place) -> None:
    if variable.strategy not in ("string", "re2"):
        place.refuse(variable.strategy, "string or re2")
        return
    strategy: Literal["string", "re2"] = "re2" if variable.strategy == "re2" else "string"
    try:
        environment.check(EnvRule(variable.pattern, strategy))
    except UnusableError as error:
        place.refuse(Told(_printable(f"{error}")), "a rule the guest can apply", error.hint)


def _check_text(text: str, place: Place) -> None:
    try:
        environment.check_text(text)
    except UnusableError as error:
        place.refuse(Told(_printable(f"{error}")), "text that a process can be given")


def _printable(words: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in words[:200])


# ---- mounts, processes, signals


def _mounts(wanted: Wanted, place: Place) -> list[Fields]:
    mounts = list(wanted.mounts)
    if not is_sidecar(wanted.image):
        taken = {mount.destination for mount in mounts if isinstance(mount.destination, str)}
        names = POD_RESOLV_CONF if wanted.is_pod else RESOLV_CONF
        if names.destination not in taken:
            mounts.append(Mount.of_platform(names))
        mounts += [Mount.of_platform(mount) for mount in POD_MOUNTS if wanted.is_pod]
    return [made for index, mount in enumerate(mounts) if (made := _mount(mount, place.at(index)))]


def _mount(mount: Mount, place: Place) -> Fields | None:
    if mount.kind not in MOUNT_SOURCES:
        place.at("type").refuse(mount.kind, f"one of {', '.join(MOUNT_SOURCES)}")
        return None
    if not mount.destination or not isinstance(mount.destination, str):
        place.at("mountPath").refuse(mount.destination, "a path in the container")
        return None
    if not mount.destination.startswith("/"):
        place.at("mountPath").refuse_if_strict(mount.destination, "an absolute path")
    if mount.read_only is not None and not isinstance(mount.read_only, bool):
        place.at("readOnly").refuse(mount.read_only, "true or false")
    options = list(mount.options) or [*MOUNT_OPTIONS, "ro" if mount.read_only else "rw"]
    return {
        "destination": mount.destination,
        "options": options,
        "source": MOUNT_SOURCES[mount.kind],
        "type": "bind",
    }


def _processes(processes: Sequence[Process], place: Place) -> list[Fields]:
    for index, process in enumerate(processes):
        _check_process(process, place.at(index))
    return [
        {"command": process.command, "signals": list(process.signals)}
        if isinstance(process.signals, (list, tuple))
        else {"command": process.command, "signals": []}
        for process in processes
    ]


def _check_process(process: Process, place: Place) -> None:
    words = process.command
    if not isinstance(words, list) or (place.strict and not words):
        place.at("command").refuse(
            words, "a list of words", 'a shell line is ["/bin/sh", "-c", LINE]'
        )
    elif place.strict and not all(isinstance(word, str) for word in words):
        place.at("command").refuse(_odd_word(words), "a list of words")
    signals = process.signals
    if not isinstance(signals, (list, tuple)):
        place.at("signals").refuse(signals, "a list of numbers")
    elif place.strict and not all(_is_signal(number) for number in signals):
        place.at("signals").refuse(list(signals), f"numbers from 1 to {MAX_SIGNAL}")


def _signals(wanted: Wanted, image: Image, profile: Profile, place: Place) -> list[object]:
    """The image's StopSignal as a number, and what the profile adds."""
    stop: list[object] = []
    if image.stop_signal and _is_filled(wanted, place):
        stop = [_signal(image.stop_signal, place)]
    return [*stop, *(number for number in profile.signals if number not in stop)]


def _signal(stop: str | int, place: Place) -> object:
    """confcom knows names alone: of a number in text it makes one no request ever equals."""
    text = f"{stop}"
    known = stop if isinstance(stop, int) and not place.strict else SIGNALS.get(text.upper())
    if known is not None or not place.strict:
        return text if known is None else known
    if text.isascii() and text.isdigit() and _is_signal(int(text)):
        return int(text)
    named = SIGNALS.get(f"SIG{text.upper()}") or _real_time(text.upper().removeprefix("SIG"))
    if named is None:
        place.refuse(
            Told(f"StopSignal {as_json(text)[:60]}"),
            "the name or number of a signal",
            "STOPSIGNAL SIGTERM in the image's Containerfile",
        )
    return named


def _real_time(text: str) -> int | None:
    """`RTMIN+3` and `RTMAX-1`, as images that run systemd have it."""
    match = _REAL_TIME.fullmatch(text)
    if match is None:
        return None
    number = _FIRST_REAL_TIME if match[1] == "RTMIN" else MAX_SIGNAL
    number += int(match[2] or 0)
    return number if _FIRST_REAL_TIME <= number <= MAX_SIGNAL else None


def _is_signal(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIGNAL
