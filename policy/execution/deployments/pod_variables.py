"""Where the environment of a pod's container comes from, and what of it is known beforehand."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sealserve.policy.execution.complaints import NOTHING, Place, Told, shown
from sealserve.policy.execution.lookup import find
from sealserve.policy.execution.wanted import Variable

# Virtual nodes put their own value in place of such a text.
_OF_NODE = re.compile("===VIRTUALNODE2.CC.THIM.(.+)===")
_EXPANDED = re.compile(r"(?<!\$)\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")  # Kubernetes: $(NAME)
_DIGITS = re.compile("[0-9]+")


@dataclass
class Values:
    """ConfigMaps and Secrets of the file by name, and what was decided about those it lacks."""

    config_maps: Mapping[object, object]
    secrets: Mapping[object, object]
    approve: Callable[[str], bool]
    decided: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, documents: Sequence[object], approve: Callable[[str], bool]) -> Values:
        return cls(_named(documents, "ConfigMap"), _named(documents, "Secret"), approve)

    def variables(self, container: object, place: Place) -> list[Variable]:
        """In the order of the container's `env`; each container asks anew about what is missing."""
        self.decided = {}
        entries = place.entries(find(container, "env"), "a list of variables")
        if find(container, "envFrom"):
            place.refuse_if_strict(
                Told("envFrom"),
                "variables by their names",
                "which of them the guest would let through is not in it: list them under env",
            )
        read = (self._variable(entry, container, here) for here, entry in entries)
        return [variable for variable in read if variable is not None]

    def _variable(self, entry: object, container: object, place: Place) -> Variable | None:
        members: dict[str, Any] = entry if isinstance(entry, dict) else {}
        name = members.get("name")
        if not name or not isinstance(name, str):
            place.at("name").refuse(
                name, "the name of a variable", "each entry of the list has a name, which is text"
            )
            return None
        if "value" in members:
            return _plain(name, members["value"], place.at("value"))
        source = members.get("valueFrom")
        if not isinstance(source, dict):
            return Variable(name, "") if place.strict else None
        return self._of_source(name, source, container, place.at("valueFrom"))

    def _of_source(
        self, name: str, source: dict[str, object], container: object, place: Place
    ) -> Variable | None:
        if "configMapKeyRef" in source:
            return self._of_config_map(name, source["configMapKeyRef"], place.at("configMapKeyRef"))
        if "secretKeyRef" in source:
            return self._of_secret(name, source["secretKeyRef"], place.at("secretKeyRef"))
        if "fieldRef" in source:
            return Variable.anything(name) if find(source["fieldRef"], "fieldPath") else None
        if "resourceFieldRef" in source:
            return _of_resource(name, source["resourceFieldRef"], container, place)
        place.refuse_if_strict(
            sorted(source),
            "a source that is known here",
            "write the value itself, or take it from a ConfigMap, a Secret, a field or a resource",
        )
        return None

    def _of_config_map(self, name: str, ref: object, place: Place) -> Variable | None:
        map_name = find(ref, "name")
        document = self.config_maps.get(map_name)
        if document is None:
            if self._is_open(f"ConfigMap {map_name}", map_name, place):
                return Variable.anything(name)
            return None if place.strict else Variable(name, "")
        key = f"{find(ref, 'key')}"
        value = _member(document, "data", key)
        if not value and (binary := _member(document, "binaryData", key)) is not None:
            value = _decoded(binary, place)
        return _kept(name, value, key, place)

    def _of_secret(self, name: str, ref: object, place: Place) -> Variable | None:
        secret_name = find(ref, "name")
        document = self.secrets.get(secret_name)
        key = f"{find(ref, 'key')}"
        value: object = None
        if document is not None:
            value = _decoded(_member(document, "data", key) or "", place)
            value = value or _member(document, "stringData", key)
            if place.strict:
                return _kept(name, value, key, place, secret=True)
        if value is not None:
            return Variable(name, value, secret=True)
        if self._is_open(f"Secret {secret_name}", secret_name, place):
            return Variable.anything(name)
        if not place.strict:
            place.refuse(
                secret_name,
                "a Secret of this file, or a wildcard",
                "add the Secret, or run with --approve-wildcards to let in any value at all",
            )
        return None

    def _is_open(self, what: str, name: object, place: Place) -> bool:
        """Asked once for each resource and container."""
        title = shown(what)
        if title not in self.decided:
            self.decided[title] = self.approve(title)
        if not self.decided[title]:
            place.refuse_if_strict(
                name,
                f"the {title.split(' ')[0]} in the same file",
                "add it; --approve-wildcards would let in any value at all",
            )
        return self.decided[title]


def _named(documents: Sequence[object], kind: str) -> dict[object, object]:
    found: dict[object, object] = {}
    for document in documents:
        name = find(find(document, "metadata"), "name")
        if isinstance(document, dict) and document.get("kind") == kind and isinstance(name, str):
            found[name] = document
    return found


def _plain(name: str, value: object, place: Place) -> Variable | None:
    if not isinstance(value, str):
        hint = "put it into quotes: Kubernetes takes text alone"
        place.refuse(NOTHING if value is None else value, "text", hint)
        return None
    if _OF_NODE.fullmatch(value):
        return Variable.anything(name)
    if expanded := _EXPANDED.search(value):
        place.refuse_if_strict(
            value,
            "a value without references",
            f"Kubernetes puts something else in place of {shown(expanded[0])}: write it out",
        )
    return Variable(name, value)


def _kept(
    name: str, value: object, key: str, place: Place, *, secret: bool = False
) -> Variable | None:
    if not isinstance(value, str) and (place.strict or value is None):
        place.at("key").refuse(
            key,
            "a key that is there, with text",
            "add the key with text, or write the value itself",
        )
        return None
    return Variable(name, value, secret=secret)


def _member(document: object, name: str, key: str) -> object:
    members = document.get(name) if isinstance(document, dict) else None
    return members.get(key) if isinstance(members, dict) else None


def _decoded(value: object, place: Place) -> object:
    try:
        return base64.b64decode(f"{value}", validate=place.strict).decode()
    except ValueError:
        place.refuse(
            Told("a value that is not base64 of text"),
            "base64 of text",
            "base64 -w0 gives it; text in clear belongs under stringData",
        )
        return None


def _of_resource(name: str, ref: object, container: object, place: Place) -> Variable | None:
    """What the container may use. Kubernetes rounds and converts: plain numbers are sure."""
    here = place.at("resourceFieldRef")
    owner = find(ref, "containerName")
    if owner != find(container, "name") and not (owner is None and place.strict):
        here.at("containerName").refuse(
            owner, "this container's own name", "leave containerName out, or write the value itself"
        )
        return None
    resource = find(ref, "resource")
    side, dot, kind = f"{resource}".partition(".")
    if not dot or "." in kind:
        here.at("resource").refuse(
            resource, "limits.cpu and the like", "write limits.cpu, requests.memory and the like"
        )
        return None
    value = _member(find(container, "resources"), side, kind)
    if not value:
        here.refuse_if_strict(
            resource, "a value under resources", "without one the node decides: leave it out"
        )
        return None
    if place.strict and not (_DIGITS.fullmatch(f"{value}") and find(ref, "divisor") is None):
        here.refuse(
            value, "a plain number", "Kubernetes converts others: set the variable by value"
        )
    return Variable(name, value)
