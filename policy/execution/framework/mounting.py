"""The rules about places: layers, scratch disks, overlays and shares, mounted and unmounted."""

from __future__ import annotations

from sealserve.policy.execution import patterns
from sealserve.policy.execution.framework.checks import Check, Considered, Outcome, outcome
from sealserve.policy.execution.framework.containers import container_id
from sealserve.policy.execution.framework.question import Case, Question
from sealserve.policy.execution.framework.state import State
from sealserve.policy.execution.framework.values import (
    UNDEFINED,
    holds,
    items,
    same,
    shown,
)

UNENCRYPTED = "allow_unencrypted_scratch"
_MOUNTED = "device already mounted at path"
_NOT_MOUNTED = "no device at path to unmount"
_FILESYSTEMS = ("ext4", "xfs")


def mount_device(asked: Question) -> Outcome:
    """Mount a layer read-only: one that some container has, where nothing is mounted."""
    digest = asked.get("deviceHash")
    return outcome(
        [
            Check(
                "deviceHash",
                any(same(digest, layer) for layer in asked.world.layers()),
                shown(digest),
                "a layer of a container of the policy or of a loaded fragment",
                "the image is another one: write the policy for it, or load its fragment first",
                "deviceHash not found",
            ),
            _free(asked),
            _at_place(asked),
        ],
        lambda state: state.devices.update({asked.text("target"): digest}),
    )


def rw_mount_device(asked: Question) -> Outcome:
    """Mount a disk to write to: encrypted, formatted by the guest."""
    filesystem = asked.get("filesystem")
    ensured = asked.get("ensureFilesystem")
    return outcome(
        [
            _encrypted(
                asked,
                "unencrypted scratch not allowed, non-readonly mount request for SCSI disk must "
                "request encryption",
            ),
            Check(
                "ensureFilesystem",
                holds(ensured),
                shown(ensured),
                "true",
                "let the guest format the disk",
                "ensureFilesystem must be set on rw device mounts",
            ),
            Check(
                "filesystem",
                filesystem in _FILESYSTEMS,
                shown(filesystem),
                f"one of {shown(_FILESYSTEMS)}",
                "ask for one of these",
                "rw device mounts uses a filesystem that is not allowed",
            ),
            _free(asked),
            _at_place(asked),
        ],
        lambda state: state.rw_devices.add(asked.text("target")),
    )


def unmount_device(asked: Question) -> Outcome:
    """Unmount a layer."""
    place = asked.text("unmountTarget")
    other = "received read-only unmount request, but device provided is read-write"
    reason = other if place in asked.world.state.rw_devices else _NOT_MOUNTED
    there = _there(asked, place in asked.world.state.devices, reason)
    return outcome([there], lambda state: state.devices.pop(place, None))


def rw_unmount_device(asked: Question) -> Outcome:
    """Unmount a disk that was written to."""
    place = asked.text("unmountTarget")
    other = "received read-write unmount request, but device provided is read-only"
    reason = other if place in asked.world.state.devices else _NOT_MOUNTED
    there = _there(asked, place in asked.world.state.rw_devices, reason)
    return outcome([there], lambda state: state.rw_devices.discard(place))


def mount_overlay(asked: Question) -> Outcome:
    """Join layers into a container's root: this is where it is told what it can be."""
    name, place = container_id(asked), asked.text("target")
    found = [(each, _layers(asked.about(each))) for each in asked.world.containers()]
    candidates = [each for each, check in found if check.held]
    checks = [
        Check(
            "containerID",
            name != "" and name not in asked.world.state.matches,
            shown(asked.get("containerID")),
            "a container whose overlay was not mounted before",
            "use another name, or shut the container down first",
            "overlay has already been mounted" if name in asked.world.state.matches else "",
        ),
        Check(
            "target",
            place != "" and place not in asked.world.state.overlay_targets,
            shown(asked.get("target")),
            "a path where no overlay is mounted",
            "unmount what is there first",
        ),
        Check(
            "layerPaths",
            bool(candidates),
            shown(asked.get("layerPaths")),
            "the layers of one container, the top one first",
            "mount the layers of this image, and all of them",
            "no matching containers for overlay",
        ),
    ]

    def change(state: State) -> None:
        state.matches[name] = candidates
        state.overlay_targets.add(place)

    return outcome(checks, change, (Considered(each.label, (check,)) for each, check in found))


def unmount_overlay(asked: Question) -> Outcome:
    """Unmount a container's root; what the container can be stays known."""
    place = asked.text("unmountTarget")
    known = place in asked.world.state.overlay_targets
    there = _there(asked, known, "no overlay at path to unmount")
    return outcome([there], lambda state: state.overlay_targets.discard(place))


def plan9_mount(asked: Question) -> Outcome:
    """Mount a share of the host at a place that belongs to a known container."""
    place = asked.text("target")
    owner = _owner(asked)
    return outcome(
        [
            Check(
                "target",
                place != "" and place not in asked.world.state.p9mounts,
                shown(asked.get("target")),
                "a path where nothing is mounted",
                "unmount what is there first",
                _MOUNTED if place in asked.world.state.p9mounts else "",
            ),
            Check(
                "target",
                owner is not None,
                shown(asked.get("target")),
                f"the mounts of one of {shown(sorted(asked.world.state.matches))}",
                "mount the overlay of its container first",
            ),
        ],
        lambda state: state.p9mounts.update({place: str(owner)}),
    )


def plan9_unmount(asked: Question) -> Outcome:
    """Unmount a share."""
    place = asked.text("unmountTarget")
    there = _there(asked, place in asked.world.state.p9mounts, _NOT_MOUNTED)
    return outcome([there], lambda state: state.p9mounts.pop(place, None))


def scratch_mount(asked: Question) -> Outcome:
    """Mount a place for what containers write: encrypted, unless the policy says otherwise."""
    place = asked.text("target")
    taken = place in asked.world.state.scratch_mounts
    return outcome(
        [
            Check(
                "target",
                place != "" and not taken,
                shown(asked.get("target")),
                "a path where no scratch is mounted",
                "unmount what is there first",
                "scratch already mounted at path"
                if place in asked.world.state.scratch_mounts
                else "",
            ),
            _encrypted(asked, "unencrypted scratch not allowed"),
        ],
        lambda state: state.scratch_mounts.add(place),
    )


def scratch_unmount(asked: Question) -> Outcome:
    """Unmount a scratch."""
    place = asked.text("unmountTarget")
    known = place in asked.world.state.scratch_mounts
    there = _there(asked, known, "no scratch at path to unmount")
    return outcome([there], lambda state: state.scratch_mounts.discard(place))


def no_block_devices(asked: Question) -> Outcome:
    """Block devices as such reach no container."""
    place = asked.request.get("target", asked.get("unmountTarget"))
    reason = "blockdev mounts are not supported"
    hint = "give the container a file system instead"
    return outcome([Check("target", False, shown(place), "no block device", hint, reason)])


def _free(asked: Question) -> Check:
    place = asked.text("target")
    taken = place in asked.world.state.devices or place in asked.world.state.rw_devices
    return Check(
        "target",
        place != "" and not taken,
        shown(asked.get("target")),
        "a path where no device is mounted",
        "unmount what is there first",
        _MOUNTED if taken else "",
    )


def _at_place(asked: Question) -> Check:
    pattern = asked.get("mountPathRegex")
    return Check(
        "target",
        patterns.matches(pattern, asked.get("target")),
        shown(asked.get("target")),
        f"a path that matches {shown(pattern)}",
        "devices are mounted at the guest's own places only",
        "mountpoint invalid",
    )


def _encrypted(asked: Question, reason: str) -> Check:
    encrypted = asked.get("encrypted")
    return Check(
        "encrypted",
        holds(encrypted) or asked.world.policy.allows(UNENCRYPTED),
        shown(encrypted),
        "true",
        f"ask for encryption; {UNENCRYPTED} in the policy would let the host read what is written",
        reason,
    )


def _there(asked: Question, there: bool, reason: str) -> Check:
    return Check(
        "unmountTarget",
        there,
        shown(asked.get("unmountTarget")),
        "a path where such a thing is mounted",
        "nothing is to be done, or the path is another",
        reason,
    )


def _layers(case: Case) -> Check:
    paths = case.get("layerPaths")
    layers = case.field("layers")
    mounted = [case.world.state.devices.get(str(path), UNDEFINED) for path in items(paths)]
    held = (
        isinstance(layers, list)
        and isinstance(paths, list)
        and len(paths) == len(layers)
        and all(same(one, other) for one, other in zip(mounted, reversed(layers), strict=True))
    )
    return Check(
        "layers",
        held,
        shown([None if layer is UNDEFINED else layer for layer in reversed(mounted)]),
        shown(layers),
        "" if held else "the image is another one, or its layers are mounted in another order",
    )


def _owner(asked: Question) -> str | None:
    root, path = asked.get("rootPrefix"), asked.get("mountPathPrefix")
    if not isinstance(root, str) or not isinstance(path, str):
        return None
    for name in sorted(asked.world.state.matches):
        if patterns.matches(f"^{root}/{name}{path}$", asked.get("target")):
            return name
    return None
