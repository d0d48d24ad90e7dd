"""Pods of virtual nodes read from YAML: everything of a file that starts containers.

Pod, Deployment, StatefulSet, DaemonSet, Job, CronJob and ReplicaSet have a policy each, in the
file's order; ConfigMaps and Secrets beside them give values to variables (`pod_variables`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sealserve.policy.execution.complaints import NOTHING, Complaints, Place
from sealserve.policy.execution.deployments import confcom
from sealserve.policy.execution.deployments.config_file import IDENTITY_LABEL
from sealserve.policy.execution.deployments.pod_variables import Values
from sealserve.policy.execution.deployments.probes import probe
from sealserve.policy.execution.deployments.references import References
from sealserve.policy.execution.deployments.template import Approve
from sealserve.policy.execution.lookup import find, items
from sealserve.policy.execution.platform import (
    IDENTITY_MOUNT,
    IDENTITY_RULES,
    POD_PRIVILEGED_MOUNTS,
)
from sealserve.policy.execution.wanted import Group, Mount, Process, Variable, Wanted

KINDS = ("Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet")
ANNOTATION = "microsoft.containerinstance.virtualnode.ccepolicy"
_DOWN = ("spec", "template", "jobTemplate")  # from a workload to the pod in it
_READ_ONLY_KINDS = frozenset({"configMap", "secret", "downwardAPI", "projected"})
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")


def read_pods(documents: Sequence[object], complaints: Complaints, approve: Approve) -> list[Group]:
    """documents: of one file, in order. Faults go to `complaints`, for all workloads at once."""
    workloads = [(at, each) for at, each in enumerate(documents) if _kind(each) in KINDS]
    if not workloads:
        complaints.place("").at("kind").refuse(
            NOTHING, f"one of {', '.join(KINDS)}", "give the file in which what runs is declared"
        )
    values = Values.of(documents, approve)
    several = len(workloads) > 1
    return [_group(each, at, values, complaints, several) for at, each in workloads]


def pod_path(workload: object) -> tuple[str, ...] | None:
    """From a workload to what holds metadata and spec of its pod."""
    path: tuple[str, ...] = ()
    here = workload
    while isinstance(here, dict):
        spec = here.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            return path
        step = next((name for name in _DOWN if name in here), None)
        if step is None:
            return None
        path, here = (*path, step), here[step]
    return None


def _kind(document: object) -> object:
    return document.get("kind") if isinstance(document, dict) else None


def _group(workload: Any, at: int, values: Values, complaints: Complaints, several: bool) -> Group:
    name = find(find(workload, "metadata"), "name")
    title = name if isinstance(name, str) else f"{at}"
    group = complaints.place(f"{_kind(workload)} {title}")
    path = pod_path(workload)
    pod: Any = workload
    for step in path or ():
        pod = pod[step]
    spec = find(pod, "spec")
    if path is None or not items(find(spec, "containers")):
        group.at("spec").at("containers").refuse(
            NOTHING,
            "a list of containers",
            "a pod runs at least one: list them under spec.containers",
        )
        return Group(title, ())
    metadata = find(pod, "metadata")
    for held, place in (
        (metadata, group.at("metadata")),
        (find(metadata, "annotations"), group.at("metadata").at("annotations")),
    ):
        if held is not None and not isinstance(held, dict):
            place.refuse(held, "an object", "members stand below it, as NAME: VALUE")
    first = (
        group.at("spec")
        .at("initContainers")
        .entries(find(spec, "initContainers"), "a list of containers")
    )
    both = [*items(find(spec, "containers")), *(entry for _, entry in first)]
    volumes = group.at("spec").at("volumes").entries(find(spec, "volumes"), "a list of volumes")
    reader = _Reader(
        values,
        pod,
        [*(entry for _, entry in volumes), *_claims(workload)],
        complaints,
        f"{group.container}, " if several else "",
    )
    return Group(
        name=title,
        containers=[reader.container(entry, index) for index, entry in enumerate(both)],
        existing=bool(find(find(metadata, "annotations"), ANNOTATION)),
        path=(at, *path),
    )


class _Reader:
    def __init__(
        self,
        values: Values,
        pod: object,
        volumes: Sequence[object],
        complaints: Complaints,
        prefix: str,
    ) -> None:
        spec = find(pod, "spec")
        labels = find(find(pod, "metadata"), "labels")
        self._values = values
        self._complaints = complaints
        self._prefix = prefix
        self._security = find(spec, "securityContext")
        self._identity = find(labels, IDENTITY_LABEL) == "true"
        self._volumes = volumes

    def container(self, entry: Any, at: int) -> Wanted:
        name = find(entry, "name")
        title = name if isinstance(name, str) and name else f"containers[{at}]"
        place = self._complaints.place(f"{self._prefix}{title}")
        image = find(entry, "image")
        if not image or not isinstance(image, str):
            place.at("image").refuse(
                NOTHING if image is None else image,
                "the name of an image",
                "write it as REGISTRY/NAME:TAG",
            )
        security = self._merged(find(entry, "securityContext"), place.at("securityContext"))
        wanted = Wanted(
            name=name or image,
            image=image if isinstance(image, str) else "",
            entrypoint=_words(find(entry, "command"), place.at("command")),
            command=_words(find(entry, "args"), place.at("args")),
            working_dir=(find(entry, "workingDir") or "") if place.strict else "",
            variables=self._variables(entry, place.at("env")),
            mounts=self._mounts(entry, place.at("volumeMounts")),
            processes=_processes(entry, place),
            security=security,
            is_pod=True,
        )
        return wanted if place.strict else confcom.replaced_in(wanted, References(), place)

    def _merged(self, own: object, place: Place) -> dict[str, object]:
        """The pod's context under the container's."""
        for context in (self._security, own):
            if context and not isinstance(context, dict):
                place.refuse(context, "an object", "members stand below it, as NAME: VALUE")
        under = self._security if isinstance(self._security, dict) else {}
        return {**under, **(own if isinstance(own, dict) else {})}

    def _variables(self, entry: object, place: Place) -> list[Variable]:
        of_identity = IDENTITY_RULES if self._identity else ()
        own = self._values.variables(entry, place)
        return [*own, *(Variable.of_platform(rule) for rule in of_identity)]

    def _mounts(self, entry: object, place: Place) -> list[Mount]:
        mounts = [Mount.of_platform(IDENTITY_MOUNT)] if self._identity else []
        listed = place.entries(find(entry, "volumeMounts"), "a list of mounts")
        mounts += [self._mount(mount, here) for here, mount in listed]
        if find(find(entry, "securityContext"), "privileged") is True:
            mounts += [Mount.of_platform(mount) for mount in POD_PRIVILEGED_MOUNTS]
        return mounts

    def _mount(self, mount: object, place: Place) -> Mount:
        """Whatever a pod mounts is an emptyDir to the platform."""
        name = find(mount, "name")
        volume = next((each for each in self._volumes if find(each, "name") == name), None)
        if volume is None:
            place.at("name").refuse_if_strict(
                name,
                "a volume that the pod declares",
                "declare it under spec.volumes, or take the mount out",
            )
        said = find(mount, "readOnly")
        if _is_read_only(volume):
            if said is False:
                place.remark("readOnly: false, but this kind of volume is always read-only")
            said = True
        return Mount("emptyDir", find(mount, "mountPath"), said or False)


def _is_read_only(volume: object) -> bool:
    members = volume if isinstance(volume, dict) else {}
    return not _READ_ONLY_KINDS.isdisjoint(members) or bool(members.get("readOnly"))


def _claims(workload: object) -> list[object]:
    """Volumes a StatefulSet makes for each of its pods."""
    return [
        {
            "name": find(find(claim, "metadata"), "name"),
            "readOnly": "ReadOnlyMany" in items(find(find(claim, "spec"), "accessModes")),
        }
        for claim in items(find(find(workload, "spec"), "volumeClaimTemplates"))
    ]


def _words(value: object, place: Place) -> list[object]:
    return [word for _, word in place.entries(value, "a list of words")]


def _processes(entry: object, place: Place) -> list[Process]:
    probes = [process for name in _PROBES for process in probe(entry, name, place)]
    life = find(entry, "lifecycle")
    hooks = [process for name in _HOOKS for process in probe(life, name, place.at("lifecycle"))]
    return [*probes, *hooks]
