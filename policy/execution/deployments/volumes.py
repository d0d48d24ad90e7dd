"""Mounts of a template's containers, by the volumes the group declares."""

from __future__ import annotations

from sealserve.policy.execution.complaints import Place
from sealserve.policy.execution.lookup import find
from sealserve.policy.execution.platform import CONFIG_MAP, MOUNT_SOURCES
from sealserve.policy.execution.wanted import Mount


def config_map(properties: object) -> list[Mount]:
    """Where the platform puts a container's configMap."""
    return [Mount.of_platform(CONFIG_MAP)] if find(properties, "configMap") else []


def mounts_of(listed: object, volumes: list[object], place: Place) -> list[Mount]:
    """listed: the container's volumeMounts. volumes: what the group declares."""
    entries = place.entries(listed, "a list of mounts")
    read = (_mount(mount, volumes, here) for here, mount in entries)
    return [mount for mount in read if mount is not None]


def _mount(mount: object, volumes: list[object], place: Place) -> Mount | None:
    name = find(mount, "name")
    volume = next((entry for entry in volumes if find(entry, "name") == name), None)
    if volume is None:
        place.at("name").refuse(name, "a volume that the group declares", "add it to its volumes")
        return None
    return Mount(_kind(volume, place), find(mount, "mountPath"), find(mount, "readOnly"))


def _kind(volume: object, place: Place) -> str:
    """Of several kinds in one volume confcom takes the last."""
    members = volume if isinstance(volume, dict) else {}
    known = {kind.lower(): kind for kind in MOUNT_SOURCES}
    kinds = [key for key in members if key in MOUNT_SOURCES]
    if place.strict:
        kinds = [known[key.lower()] for key in members if key.lower() in known]
        if len(kinds) > 1:
            place.refuse(kinds, "one kind of volume", "make a volume of each kind")
    return kinds[-1] if kinds else ""
