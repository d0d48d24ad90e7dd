"""Mounts of a container: those it asks for, and those the platform adds."""

from __future__ import annotations

from sealserve.policy.execution.complaints import Place
from sealserve.policy.execution.containers.platform_helpers import is_helper
from sealserve.policy.execution.platform import (
    MOUNT_OPTIONS,
    MOUNT_SOURCES,
    POD_MOUNTS,
    POD_RESOLV_CONF,
    RESOLV_CONF,
    Fields,
)
from sealserve.policy.execution.wanted import Mount, Wanted


def mounts(wanted: Wanted, place: Place) -> list[Fields]:
    asked = list(wanted.mounts)
    if not is_helper(wanted.image):
        taken = {mount.destination for mount in asked if isinstance(mount.destination, str)}
        names = POD_RESOLV_CONF if wanted.is_pod else RESOLV_CONF
        if names.destination not in taken:
            asked.append(Mount.of_platform(names))
        asked += [Mount.of_platform(mount) for mount in POD_MOUNTS if wanted.is_pod]
    return [made for index, mount in enumerate(asked) if (made := _mount(mount, place.at(index)))]


def _mount(mount: Mount, place: Place) -> Fields | None:
    if mount.kind not in MOUNT_SOURCES:
        place.at("type").refuse(
            mount.kind, f"one of {', '.join(MOUNT_SOURCES)}", "say which kind of volume it is"
        )
        return None
    if not mount.destination or not isinstance(mount.destination, str):
        place.at("mountPath").refuse(
            mount.destination,
            "a path in the container",
            "say where it appears, as mountPath: /data",
        )
        return None
    if not mount.destination.startswith("/"):
        place.at("mountPath").refuse_if_strict(
            mount.destination, "an absolute path", "begin it with /"
        )
    if mount.read_only is not None and not isinstance(mount.read_only, bool):
        place.at("readOnly").refuse(
            mount.read_only, "true or false", "write true or false, without quotes"
        )
    options = list(mount.options) or [*MOUNT_OPTIONS, "ro" if mount.read_only else "rw"]
    return {
        "destination": mount.destination,
        "options": options,
        "source": MOUNT_SOURCES[mount.kind],
        "type": "bind",
    }
