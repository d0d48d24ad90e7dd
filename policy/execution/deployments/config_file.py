"""confcom's configuration file read: containers by themselves, without a deployment around them.

Two forms: `properties` under each container (version 1), and an older flat one, which is brought
into the newer form first. confcom loses some of it on the way; strict profiles do not.
"""

from __future__ import annotations

from typing import Any

from sealserve.policy.execution import fragments
from sealserve.policy.execution.complaints import NOTHING, Complaints, Place, Told
from sealserve.policy.execution.deployments import confcom
from sealserve.policy.execution.deployments.probes import probe
from sealserve.policy.execution.deployments.references import References
from sealserve.policy.execution.deployments.volumes import config_map
from sealserve.policy.execution.lookup import find, items, spelling
from sealserve.policy.execution.platform import (
    IDENTITY_MOUNT,
    IDENTITY_RULES,
    POD_PRIVILEGED_MOUNTS,
)
from sealserve.policy.execution.wanted import Group, Mount, Process, Variable, Wanted

IDENTITY_LABEL = "azure.workload.identity/use"
_POD_SCENARIO = "vn2"  # virtual nodes


def read_config(document: object, complaints: Complaints) -> list[Group]:
    """One group, without a name."""
    file = complaints.place("")
    if not isinstance(document, dict):
        file.refuse(
            document,
            "an object with containers",
            'confcom\'s config begins with {"containers": […]}; a template has resources',
        )
        return []
    listed = items(find(document, "containers"))
    is_old = bool(listed) and find(listed[0], "containerImage") is not None
    imports = find(document, "fragments")
    if is_old:
        read = (_converted(entry, file.at("containers").at(i)) for i, entry in enumerate(listed))
        listed = [entry for entry in read if entry is not None]
        imports = imports if complaints.strict else None
    if not listed and not imports:
        file.at("containers").refuse(
            NOTHING, "containers, or fragments that bring some", "list what runs under containers"
        )
    in_pod = f"{find(document, 'scenario') or ''}".lower() == _POD_SCENARIO
    identity = in_pod and bool(find(find(document, "labels"), IDENTITY_LABEL))
    reader = _Reader(complaints, in_pod, identity)
    return [
        Group(
            name="",
            containers=[reader.container(entry, at) for at, entry in enumerate(listed)],
            fragments=fragments.read(
                {
                    "fragments": imports,
                    "standaloneFragments": find(document, "standaloneFragments"),
                },
                file.at("fragments"),
            ),
        )
    ]


def of_image(name: str, complaints: Complaints) -> list[Group]:
    """A group of one container, of which nothing but its image is known."""
    wanted = Wanted(name=name, image=name, alone=True)
    if not complaints.strict:
        wanted = confcom.replaced_in(wanted, References(), complaints.place(""))
    return [Group(name="", containers=[wanted])]


class _Reader:
    def __init__(self, complaints: Complaints, in_pod: bool, identity: bool) -> None:
        self._complaints = complaints
        self._in_pod = in_pod
        self._identity = identity

    def container(self, entry: object, at: int) -> Wanted:
        properties = find(entry, "properties")
        image = find(properties, "image")
        name = find(entry, "name") or image
        place = self._complaints.place(name if isinstance(name, str) else f"containers[{at}]")
        if not image or not isinstance(image, str):
            place.at("image").refuse(
                NOTHING if image is None else image,
                "the name of an image",
                "write it as REGISTRY/NAME:TAG",
            )
        wanted = Wanted(
            name=name,
            image=image if isinstance(image, str) else "",
            command=find(properties, "command") or (),
            working_dir=find(properties, "workingDir") or "",
            variables=self._variables(properties, place.at("environmentVariables")),
            mounts=self._mounts(properties, place.at("volumeMounts")),
            processes=[
                *_processes(find(properties, "execProcesses"), place.at("execProcesses")),
                *probe(properties, "readinessProbe", place),
                *probe(properties, "livenessProbe", place),
            ],
            security=find(properties, "securityContext"),
            is_pod=self._in_pod,
        )
        return wanted if place.strict else confcom.replaced_in(wanted, References(), place)

    def _variables(self, properties: object, place: Place) -> list[Variable]:
        of_identity = IDENTITY_RULES if self._identity else ()
        entries = place.entries(find(properties, "environmentVariables"), "a list of variables")
        read = (_variable(entry, here) for here, entry in entries)
        return [
            *(Variable.of_platform(rule) for rule in of_identity),
            *(variable for variable in read if variable is not None),
        ]

    def _mounts(self, properties: object, place: Place) -> list[Mount]:
        listed = place.entries(find(properties, "volumeMounts"), "a list of mounts")
        mounts = [_mount(mount, here) for here, mount in listed]
        mounts += config_map(properties)
        if self._in_pod and find(find(properties, "securityContext"), "privileged"):
            mounts += [Mount.of_platform(mount) for mount in POD_PRIVILEGED_MOUNTS]
        if self._identity:
            mounts.append(Mount.of_platform(IDENTITY_MOUNT))
        return mounts


def _variable(entry: object, place: Place) -> Variable | None:
    name = find(entry, "name")
    if not name or (place.strict and not isinstance(name, str)):
        place.at("name").refuse(
            name, "the name of a variable", "each entry of the list has a name, which is text"
        )
        return None
    secret = not find(entry, "value")
    value = find(entry, "value") or find(entry, "secureValue") or ""
    if not isinstance(value, str):
        seen = Told("a secret of another kind") if secret else value
        place.at("value").refuse_if_strict(
            seen, "text", "put it into quotes: a variable holds text"
        )
    strategy = "re2" if find(entry, "regex") else "string"
    if isinstance(entry, dict) and "strategy" in entry:
        strategy = entry["strategy"]
    required = place.strict and find(entry, "required") is True
    return Variable(name, value, strategy, required, secret=secret)


def _mount(mount: object, place: Place) -> Mount:
    options = find(mount, "options") or ()
    if not isinstance(options, list | tuple):
        place.at("options").refuse(options, "a list of words", 'write ["rbind", "rshared", "ro"]')
        options = ()
    path = find(mount, "mountPath")
    return Mount(find(mount, "mountType"), path, find(mount, "readonly"), options)


def _processes(listed: object, place: Place) -> list[Process]:
    read = (_process(entry, here) for here, entry in place.entries(listed))
    return [process for process in read if process is not None]


def _process(entry: object, place: Place) -> Process | None:
    if not isinstance(entry, dict):
        place.refuse(
            entry, "an object with a command", 'write {"command": ["program", "argument"]}'
        )
        return None
    signals = find(entry, "signals") if "signals" in entry or place.strict else []
    return Process(
        find(entry, "command"), signals if signals is not None or not place.strict else []
    )


# ---- the older form


def _converted(entry: object, place: Place) -> dict[str, object] | None:
    """A flat container as one with properties."""
    if not isinstance(entry, dict):
        place.refuse(
            entry, "a container, an object", 'write {"containerImage": "REGISTRY/NAME:TAG", …}'
        )
        return None
    properties: dict[str, Any] = {
        "image": find(entry, "containerImage"),
        "execProcesses": _old_processes(entry, place),
        "volumeMounts": [
            _old_mount(mount, place.strict)
            for _, mount in place.at("mounts").entries(find(entry, "mounts"))
        ],
        "environmentVariables": [
            _old_variable(variable, here)
            for here, variable in place.at("environmentVariables").entries(
                find(entry, "environmentVariables")
            )
        ],
        "command": find(entry, "command"),
        "workingDir": find(entry, "workingDir"),
        "securityContext": _old_security(entry),
    }
    return {"name": find(entry, "name"), "properties": properties}


def _old_processes(entry: dict[str, object], place: Place) -> list[object]:
    """confcom forgets `exec_processes`, the name in this form; of `execProcesses` it makes one."""
    probes: list[object] = [
        {"command": command}
        for name in ("livenessProbe", "readinessProbe")
        if (command := find(find(find(entry, name), "exec"), "command"))
    ]
    own = find(entry, "execProcesses")
    if place.strict:
        more = place.at("exec_processes").entries(find(entry, "exec_processes"))
        return [*items(own), *(process for _, process in more), *probes]
    return [{"command": own}, *probes] if own else probes


def _old_mount(mount: object, strict: bool) -> dict[str, object]:
    """Without a word on it a mount was writable; confcom makes it read-only on the way."""
    said = isinstance(mount, dict) and spelling(mount, "readonly") is not None
    return {
        "mountType": find(mount, "mountType"),
        "mountPath": find(mount, "mountPath"),
        "readOnly": find(mount, "readonly") if said else not strict,
    }


def _old_variable(variable: object, place: Place) -> dict[str, object]:
    kept = {"name": find(variable, "name"), "value": find(variable, "value")}
    if find(variable, "strategy") == "re2":
        kept["regex"] = True
    elif place.strict and find(variable, "strategy") not in (None, "string"):
        kept["strategy"] = find(variable, "strategy")
    if place.strict:
        kept["required"] = find(variable, "required")
    return kept


def _old_security(entry: dict[str, object]) -> object:
    context = entry.get("securityContext")
    elevated = find(entry, "allow_elevated")
    if elevated is None:
        return context
    return {**(context if isinstance(context, dict) else {}), "privileged": elevated}
