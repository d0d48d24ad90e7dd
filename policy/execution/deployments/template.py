"""An ARM template read into groups of containers, as confcom reads it (or better: strict profiles).

Resources of two types have a policy each, in the template's order. Names are found in any case.
Managed identities need no entry of their own: the platform's rules let their variables through.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

from sealserve.policy.execution.complaints import NOTHING, Complaints, Place, Told
from sealserve.policy.execution.deployments import confcom
from sealserve.policy.execution.deployments.probes import probe
from sealserve.policy.execution.deployments.references import NoValue, References
from sealserve.policy.execution.deployments.volumes import config_map, mounts_of
from sealserve.policy.execution.lookup import find, items, spelling
from sealserve.policy.execution.wanted import Group, Variable, Wanted

Approve = Callable[[str], bool]  # may this variable have any value?

TYPES = (
    "Microsoft.ContainerInstance/containerGroups",
    "Microsoft.ContainerInstance/containerGroupProfiles",
)
_ZERO_SIDECAR = "Annotate-zero-sidecar"
# The platform puts its own endpoint in place of this text (no dot of it is meant literally).
_THIM_NAME = "THIM_ENDPOINT"
_THIM_VALUE = re.compile("===CONFIDENTIAL.THIM.ENDPOINT===")


def read_template(
    template: object, given: object, complaints: Complaints, approve: Approve
) -> list[Group]:
    """given: the parameter file, or None. Faults go to `complaints`, for all groups at once."""
    file = complaints.place("")
    references = References.read(template, given, file)
    if complaints.strict:
        _check_spellings(template, file)
    resources = list(_resources(template, file))
    if not resources:
        file.at("resources").refuse(
            NOTHING, f"a resource of type {' or '.join(TYPES)}", "is this an ARM template?"
        )
    reader = _Reader(complaints, references, approve, several=len(resources) > 1)
    return [reader.group(resource, path) for path, resource in resources]


def _resources(template: object, file: Place) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Path and resource. Templates of language version 2 have an object in place of the list."""
    key = spelling(template, "resources") if isinstance(template, dict) else None
    listed = find(template, "resources")
    entries: list[tuple[str | int, object]] = list(enumerate(items(listed)))
    if isinstance(listed, dict) and file.strict:
        entries = list(listed.items())
    for step, resource in entries:
        kind = _type(resource, file.at("resources").at(step))
        if _is_group(kind, file):
            if isinstance(resource, dict) and "copy" in resource:
                file.at("resources").at(step).at("copy").refuse_if_strict(
                    Told("a loop"), "one resource per group", "write each group out"
                )
            yield (key or "resources", step), resource


def _type(resource: object, place: Place) -> object:
    """confcom knows one spelling, and stops at a resource without it."""
    if place.strict:
        return find(resource, "type")
    if not isinstance(resource, dict) or "type" not in resource:
        place.refuse(
            resource,
            "a resource with its type",
            'a group has "type": "Microsoft.ContainerInstance/containerGroups"',
        )
        return None
    return resource["type"]


def _is_group(kind: object, file: Place) -> bool:
    if not isinstance(kind, str):
        return False
    return kind.lower() in (known.lower() for known in TYPES) if file.strict else kind in TYPES


def _check_spellings(value: object, place: Place) -> None:
    """ARM takes `Image` and `image` for one member: which of two would count is anybody's guess."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_spellings(item, place.at(index))
    if not isinstance(value, dict):
        return
    seen: dict[str, str] = {}
    for key, member in value.items():
        first = seen.setdefault(key.lower(), key)
        if first != key:
            place.at(key).refuse(Told(f"{first!r} as well"[:80]), "one of them", "ARM ignores case")
        _check_spellings(member, place.at(key))


@dataclasses.dataclass(frozen=True)
class _Reader:
    """several: whether the template has more groups than one, so that messages name them."""

    complaints: Complaints
    references: References
    approve: Approve
    several: bool

    @property
    def strict(self) -> bool:
        return self.complaints.strict

    def group(self, resource: object, path: tuple[str | int, ...]) -> Group:
        name = f"{self.references.resolved(find(resource, 'name')) or path[-1]}"
        place = self.complaints.place(f"group {name}")
        properties = find(resource, "properties")
        confidential = find(properties, "confidentialComputeProperties")
        if find(confidential, "standaloneFragments"):
            place.at("standaloneFragments").refuse(
                Told("references into a registry"),
                "fragments in a file",
                "nothing is looked up in registries: give their imports with --fragments-json",
            )
        self._check_system(properties, place)
        return Group(
            name=name,
            containers=self._containers(properties, place),
            exclude_default=_zero_sidecar(find(resource, "tags")),
            existing=bool(find(confidential, "ccePolicy")),
            path=path,
        )

    def _check_system(self, properties: object, place: Place) -> None:
        system = find(properties, "osType")
        if isinstance(system, str) and system.lower() == "windows":
            place.at("osType").refuse_if_strict(
                system, "Linux", "confidential groups run Linux: leave osType at that"
            )

    def _containers(self, properties: object, place: Place) -> list[Wanted]:
        listed = find(properties, "containers")
        if not listed or not isinstance(listed, list):
            place.at("containers").refuse(
                listed, "a list of containers", "list at least one under containers"
            )
        volumes = find(properties, "volumes")
        if self.strict:
            volumes = self.references.resolved(volumes)
        declared = [entry for _, entry in place.at("volumes").entries(volumes)]
        first = place.at("initContainers").entries(
            find(properties, "initContainers"), "a list of containers"
        )
        both = [*items(listed), *(entry for _, entry in first)]
        return [self._container(entry, declared, place, at) for at, entry in enumerate(both)]

    def _container(self, entry: Any, volumes: list[object], group: Place, at: int) -> Wanted:
        if self.strict:
            entry = self.references.resolved(entry)
        name = find(entry, "name")
        title = name if isinstance(name, str) and name else f"containers[{at}]"
        place = self.complaints.place(f"{group.container}, {title}" if self.several else title)
        if self.strict and not (isinstance(name, str) and name):
            place.at("name").refuse(name, "a name", "name it: a policy and its messages call it so")
        properties = find(entry, "properties")
        wanted = Wanted(
            name=name,
            image=_image(find(properties, "image"), place.at("image")),
            command=find(properties, "command") or (),
            variables=self._variables(properties, place.at("environmentVariables")),
            mounts=[
                *mounts_of(find(properties, "volumeMounts"), volumes, place.at("volumeMounts")),
                *config_map(properties),
            ],
            processes=[
                *probe(properties, "readinessProbe", place),
                *probe(properties, "livenessProbe", place),
            ],
            security=find(properties, "securityContext"),
        )
        return wanted if self.strict else confcom.replaced_in(wanted, self.references, place)

    def _variables(self, properties: object, place: Place) -> list[Variable]:
        listed = find(properties, "environmentVariables")
        entries = place.entries(listed, "a list of variables")
        read = (self._variable(entry, here) for here, entry in entries)
        return [variable for variable in read if variable is not None]

    def _variable(self, entry: object, place: Place) -> Variable | None:
        name, value = find(entry, "name"), find(entry, "value")
        secret = value is None
        if secret:
            value = find(entry, "secureValue")
        if not name or not isinstance(name, str):
            place.at("name").refuse(
                name, "the name of a variable", "each entry of the list has a name, which is text"
            )
            return None
        try:
            return self._valued(name, value, place.at("value"), secret)
        except confcom.StoppedError as error:
            error.complain(place.at("value"))
            return None

    def _valued(self, name: str, value: object, place: Place, secret: bool) -> Variable | None:
        if isinstance(value, NoValue) or self._is_open(value):
            if self.approve(name):
                return Variable.anything(name)
            place.refuse_if_strict(
                value,
                "a value",
                "give it in --parameters; --approve-wildcards would let in any value at all",
            )
            return None
        if name == _THIM_NAME and isinstance(value, str) and _THIM_VALUE.fullmatch(value):
            return Variable.anything(name)
        if self.strict and isinstance(value, int):  # of a parameter; as confcom writes it
            return Variable(name, f"{value}", secret=secret)
        if not isinstance(value, str):
            seen = Told("a secret of another kind") if secret else value
            place.refuse(NOTHING if value is None else seen, "text", 'an empty value is ""')
            return None
        return Variable(name, value, secret=secret)

    def _is_open(self, value: object) -> bool:
        return (
            isinstance(value, str)
            and not self.strict
            and not confcom.has_value(value, self.references)
        )


def _image(value: object, place: Place) -> Any:
    if not value or not isinstance(value, str):
        place.refuse(
            NOTHING if value is None else value,
            "the name of an image",
            "write it as REGISTRY/NAME:TAG",
        )
        return ""
    return value


def _zero_sidecar(tags: object) -> bool | None:
    """What the tag says; any other tag alone makes confcom forget --exclude-default-fragment."""
    if not tags:
        return None
    said = find(tags, _ZERO_SIDECAR)
    return said.lower() == "true" if isinstance(said, str) else bool(said)
